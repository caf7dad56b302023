"""A trained network as a deployed one computes it: batch norms folded, weights binarised.

A half of a ReActNet block is four steps, and in them stands all it needs:

    a = sign(x + shift)                                  real precision: x + shift
    y = scale * conv(a, weight) + shortcut + before      weight: +-1; batch norm is in scale and before
    y = slope * y where y < 0
    y = y + after

Batch norm in eval mode is y -> gain * y + bias for each channel. The gain goes into the filter's scale
(mean|w|; a negative one flips the filter's signs), the bias into the first shift of RPReLU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from burn.networks.binary import BinaryConv2d
from burn.networks.reactnet import ReActNet, RPReLU


@dataclass
class Half:
    """A binary convolution and what follows it; float32, of C channels in and O out.

    weight: (O, C, K, K), +-1 where `precision` is "binary", else real, with `scale` ones. shift: (C,);
    scale, before, slope, after: (O,).
    """

    weight: Tensor
    scale: Tensor
    shift: Tensor
    before: Tensor
    slope: Tensor
    after: Tensor
    stride: int
    precision: str


@dataclass
class Folded:
    """A ReActNet: stem (weight and bias), two halves a block, neck (weight and bias, or neither)."""

    stem: tuple[Tensor, Tensor]
    stride: int  # of the stem
    halves: list[Half]
    neck: tuple[Tensor, Tensor] | None


def fold(network: ReActNet) -> Folded:
    """What `network` computes in eval mode at its precision. Raises ValueError if it is dilated."""
    gain, bias = affine(network.bn)
    stem = (network.conv.weight.detach().double() * gain.view(-1, 1, 1, 1)).float(), bias.float()
    halves = []
    for block in network.blocks:
        halves.append(_half(block.conv3, block.bn3, block.act3))
        halves.append(_half(block.conv1, block.bn1, block.act1))
    neck = network.neck
    return Folded(
        stem,
        network.conv.stride[0],
        halves,
        neck and (neck.weight.detach().float(), neck.bias.detach().float()),
    )


def unfold(folded: Folded, network: ReActNet) -> ReActNet:
    """`network`, in eval mode, filled with what was folded: its batch norms do nothing more."""
    with torch.no_grad():
        network.conv.weight.copy_(folded.stem[0])
        _neutral(network.bn)
        network.bn.bias.copy_(folded.stem[1])
        halves = iter(folded.halves)
        for block in network.blocks:
            _fill(next(halves), block.conv3, block.bn3, block.act3)
            _fill(next(halves), block.conv1, block.bn1, block.act1)
        if folded.neck:
            network.neck.weight.copy_(folded.neck[0])
            network.neck.bias.copy_(folded.neck[1])
        return network.eval().requires_grad_(False)


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Gain and bias of a batch norm in eval mode, float64 (C,)."""
    gain = norm.weight.detach().double() * (norm.running_var.double() + norm.eps).rsqrt()
    return gain, norm.bias.detach().double() - norm.running_mean.double() * gain


def _half(conv: BinaryConv2d, norm: nn.BatchNorm2d, act: RPReLU) -> Half:
    if conv.dilation != 1:
        raise ValueError(f"a dilated network cannot be folded; found dilation {conv.dilation}")
    gain, bias = affine(norm)
    weight = conv.weight.detach()
    if conv.precision == "binary":
        scale = weight.double().abs().mean((1, 2, 3)) * gain
        flipped = torch.where(scale < 0, -1.0, 1.0).float().view(-1, 1, 1, 1)
        weight = torch.where(binary_sign(weight), 1.0, -1.0) * flipped
    else:
        weight, scale = (weight.double() * gain.view(-1, 1, 1, 1)).float(), torch.ones_like(gain)
    before = act.before.detach().flatten().double() + bias
    return Half(
        weight,
        scale.abs().float(),
        conv.shift.detach().flatten().float(),
        before.float(),
        act.slope.detach().flatten().float(),
        act.after.detach().flatten().float(),
        conv.stride,
        conv.precision,
    )


def binary_sign(weight: Tensor) -> Tensor:
    """Where a weight counts as +1 (burn.networks.binary: that of 0 is)."""
    return ~torch.signbit(weight + 0.0)


def _fill(half: Half, conv: BinaryConv2d, norm: nn.BatchNorm2d, act: RPReLU) -> None:
    conv.weight.copy_(half.weight * half.scale.view(-1, 1, 1, 1))
    conv.shift.copy_(half.shift.view_as(conv.shift))
    _neutral(norm)
    for parameter, values in (
        (act.before, half.before),
        (act.slope, half.slope),
        (act.after, half.after),
    ):
        parameter.copy_(values.view_as(parameter))


def _neutral(norm: nn.BatchNorm2d) -> None:
    norm.weight.fill_(1)
    norm.bias.zero_()
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
