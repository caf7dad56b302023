"""The same network as a graph of OpenVINO, whose BinaryConvolution counts bits.

Of a ReActNet three graphs can be made: `bits` 1, binary weights and activations as bits; 8, the same
values as int8; 32, as floats. 8 and 32 are there to be compared with. (Of precisions before binary there
is 32 alone.) A ResNet has 32, and 8 if the ranges of what its convolutions see are known (`ranges`).

Images (1, 3, S, S), normalised; features (1, D). For other batches or sides `reshape` the model.
"""

import copy

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as op
from torch import Tensor, nn

from burn.deploy.classifier import Classifier
from burn.deploy.fold import Folded, Half, fold
from burn.deploy.packed import pack
from burn.deploy.ranges import Ranges
from burn.networks.reactnet import ReActNet
from burn.networks.resnet import ResNet

TINY = np.finfo(np.float32).tiny
# A byte holds +-1 as +-126: oneDNN halves signed weights where a processor has no VNNI, so 127 would lose
# half a step.
LEVEL = 126


def model(network: nn.Module, pixels: int, bits: int, ranges: Ranges | None = None,
          last: Classifier | None = None) -> ov.Model:  # fmt: skip
    """The graph of `network` in eval mode for an image of `pixels` x `pixels`; `last`: a last layer."""
    images = op.parameter([1, 3, pixels, pixels], np.float32)
    if isinstance(network, ReActNet):
        features = _reactnet(fold(network), images, bits)
    else:
        features = _resnet(network, images, ranges)
    if last is not None:
        features = _linear(features, last.weight, last.bias)
    features.output(0).set_names({"features"})
    images.output(0).set_names({"images"})
    made = ov.Model([op.result(features)], [images], "burn")
    for i, node in enumerate(made.get_ordered_ops()):  # names of its own count on in a process
        node.set_friendly_name(f"{node.get_type_name()}{i}")
    return made


def _reactnet(folded: Folded, images: ov.Node, bits: int) -> ov.Node:
    stem, bias = folded.stem
    x = op.add(_conv(images, op.constant(stem.numpy()), folded.stride, 1), _channels(bias))
    halves = iter(folded.halves)
    for wide, narrow in zip(halves, halves):
        shortcut = x
        if wide.stride > 1:
            pool = {"exclude_pad": True, "rounding_type": "ceil"}
            shortcut = op.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], **pool)
        x = _half(wide, x, shortcut, bits)
        doubles = len(narrow.scale) > len(narrow.shift)
        x = _half(narrow, x, op.concat([x, x], 1) if doubles else x, bits)
    x = op.reduce_mean(x, np.array([2, 3]), keep_dims=False)
    if folded.neck is None:
        return x
    return op.relu(_linear(x, *folded.neck))


def _linear(x: ov.Node, weight: Tensor, bias: Tensor) -> ov.Node:
    return op.add(op.matmul(x, op.constant(weight.numpy()), False, True), op.constant(bias.numpy()))


def _half(half: Half, x: ov.Node, shortcut: ov.Node, bits: int) -> ov.Node:
    x = {1: _binary_conv, 8: _byte_conv, 32: _real_conv}[bits](half, x)
    x = op.add(op.add(x, shortcut), _channels(half.before))
    return op.add(op.prelu(x, op.constant(half.slope.numpy())), _channels(half.after))


def _binary_conv(half: Half, x: ov.Node) -> ov.Node:
    # FakeQuantize gives bit 1 where x > threshold; the sign of 0 is +1, so it lies just below.
    threshold = op.constant(_threshold(half.shift))
    one = op.constant(np.float32(1))
    x = op.fake_quantize(x, threshold, threshold, op.constant(np.float32(0)), one, 2)
    weight = ov.Tensor(ov.Type.u1, ov.Shape(list(half.weight.shape)))  # it owns its memory
    weight.data.reshape(-1)[:] = pack(half.weight.flatten()).numpy()
    weight = op.constant(weight)
    sides, pads = [half.stride] * 2, [half.weight.shape[-1] // 2] * 2
    x = op.binary_convolution(x, weight, sides, pads, pads, [1, 1], "xnor-popcount", 0.0)
    return op.multiply(x, _channels(half.scale))


def _threshold(shift: Tensor) -> np.ndarray:
    """The largest float below -shift, (1, C, 1, 1); never a denormal, which processors may take for 0."""
    below = np.nextafter(-shift.numpy(), np.float32(-np.inf))
    return np.where(np.abs(below) < TINY, -TINY, below).reshape(1, -1, 1, 1)


def _real_conv(half: Half, x: ov.Node) -> ov.Node:
    x = op.add(x, _channels(half.shift)) if half.precision == "real" else _signs(half, x)
    weight = half.weight * half.scale.view(-1, 1, 1, 1)
    return _conv(x, op.constant(weight.numpy()), half.stride, weight.shape[-1] // 2)


def _byte_conv(half: Half, x: ov.Node) -> ov.Node:
    ends = [op.constant(np.float32(end)) for end in (-128, 127)]  # so +-1 is the byte +-1
    x = op.fake_quantize(_signs(half, x), *ends, *ends, 256)
    weight = _bytes(half.weight * LEVEL, (half.scale / LEVEL).view(-1, 1, 1, 1))
    return _conv(x, weight, half.stride, half.weight.shape[-1] // 2)


def _signs(half: Half, x: ov.Node) -> ov.Node:
    above = op.greater(x, op.constant(_threshold(half.shift)))
    return op.select(above, op.constant(np.float32(1)), op.constant(np.float32(-1)))


def _resnet(network: ResNet, images: ov.Node, ranges: Ranges | None) -> ov.Node:
    """`ranges`: of what each convolution of `network`, by name, sees; with them the graph is of int8."""
    names = {module: name for name, module in network.named_modules()}
    folded = copy.deepcopy(network).fold()

    def conv(x: ov.Node, name: str) -> ov.Node:
        module = folded.get_submodule(name)
        weight, bias = module.weight.detach(), _channels(module.bias.detach())
        stride, padding = module.stride[0], module.padding[0]
        if ranges is None:
            return op.add(_conv(x, op.constant(weight.numpy()), stride, padding), bias)
        ends = [op.constant(np.float32(end)) for end in ranges[name]]
        x = op.fake_quantize(x, *ends, *ends, 256)
        return op.add(_conv(x, _seven_bits(weight), stride, padding), bias)

    x = op.relu(conv(images, "conv1"))
    if isinstance(network.maxpool, nn.MaxPool2d):
        x = op.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
    for block in network.trunk()[2]:
        own, shortcut = names[block], x
        if block.downsample is not None:
            shortcut = conv(x, f"{own}.downsample.0")
        count = sum(isinstance(module, nn.Conv2d) for module in block.children())
        for i in range(1, count + 1):
            x = conv(x, f"{own}.conv{i}")
            x = op.relu(x) if i < count else op.relu(op.add(x, shortcut))
    return op.reduce_mean(x, np.array([2, 3]), keep_dims=False)


def _seven_bits(weight: Tensor) -> ov.Node:
    """A weight as int8, a scale per filter, within +-63: where a processor has no VNNI, sums of two
    products are kept in 16 bits, which eight bits would overflow."""
    scale = weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(TINY) / 63
    return _bytes((weight / scale).round(), scale)


def _bytes(weight: Tensor, scale: Tensor) -> ov.Node:
    weight = op.convert(op.constant(weight.to(torch.int8).numpy()), np.float32)
    return op.multiply(weight, op.constant(scale.numpy()))


def _conv(x: ov.Node, weight: ov.Node, stride: int, padding: int) -> ov.Node:
    sides, pads = [stride] * 2, [padding] * 2
    return op.convolution(x, weight, sides, pads, pads, [1, 1])


def _channels(numbers: Tensor) -> ov.Node:
    return op.constant(numbers.numpy().reshape(1, -1, 1, 1))
