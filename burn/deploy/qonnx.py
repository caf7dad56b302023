"""The same network in QONNX, from which tool-chains for FPGAs start (Pappalardo et al., AccML 2022).

Its BipolarQuant is our sign: +1 where x >= 0, else -1, here at a scale of 1. Weights stand as +-1 in
float32 before a BipolarQuant of their own, as QONNX has them: a tool-chain packs them, this file does
not. Images (1, 3, S, S), normalised; features (1, D).
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from burn.deploy.fold import Folded, Half

DOMAIN, OPSET, IR = "qonnx.custom_op.general", 13, 8


class _Graph:
    """Nodes and constants, in order; a name for each output."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, values: Tensor) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values.numpy(), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes) -> str:
        name = f"x{len(self.nodes)}"
        domain = {"domain": DOMAIN} if kind == "BipolarQuant" else {}
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **domain, **attributes))
        return name

    def channels(self, kind: str, x: str, numbers: Tensor) -> str:
        """`x` and a number for each channel."""
        return self.add(kind, x, self.constant(numbers.view(1, -1, 1, 1)))

    def sign(self, x: str) -> str:
        return self.add("BipolarQuant", x, self.constant(torch.ones(())))

    def conv(self, x: str, weight: str, kernel: int, stride: int) -> str:
        sides = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        return self.add("Conv", x, weight, **sides)


def model(folded: Folded, dim: int, pixels: int) -> onnx.ModelProto:
    """The graph of a network with `dim` features for an image of `pixels` x `pixels`."""
    graph = _Graph()
    stem, bias = folded.stem
    x = graph.conv("images", graph.constant(stem), stem.shape[-1], folded.stride)
    x = graph.channels("Add", x, bias)
    halves = iter(folded.halves)
    for wide, narrow in zip(halves, halves):
        shortcut = x
        if wide.stride > 1:
            sides = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}
            shortcut = graph.add("AveragePool", x, count_include_pad=0, **sides)
        x = _half(graph, wide, x, shortcut)
        doubles = len(narrow.scale) > len(narrow.shift)
        x = _half(graph, narrow, x, graph.add("Concat", x, x, axis=1) if doubles else x)
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x), axis=1)
    if folded.neck is not None:
        weight, bias = map(graph.constant, folded.neck)
        x = graph.add("Relu", graph.add("Gemm", x, weight, bias, transB=1))
    graph.nodes[-1].output[0] = "features"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("images", [1, 3, pixels, pixels]), ("features", [1, dim]))]  # fmt: skip
    made = helper.make_graph(graph.nodes, "burn", ends[:1], ends[1:], graph.constants)
    sets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(made, opset_imports=sets, ir_version=IR, producer_name="burn")


def _half(graph: _Graph, half: Half, x: str, shortcut: str) -> str:
    x = graph.channels("Add", x, half.shift)
    x = x if half.precision == "real" else graph.sign(x)
    weight = graph.constant(half.weight)
    if half.precision == "binary":
        weight = graph.sign(weight)
    x = graph.conv(x, weight, half.weight.shape[-1], half.stride)
    x = graph.add("Add", graph.channels("Mul", x, half.scale), shortcut)
    x = graph.channels("Add", x, half.before)
    x = graph.add("PRelu", x, graph.constant(half.slope.view(-1, 1, 1)))
    return graph.channels("Add", x, half.after)


def plain(given: onnx.ModelProto) -> onnx.ModelProto:
    """`given` in ONNX's own operators, which OpenVINO and ONNX Runtime know: each BipolarQuant at a scale
    of 1 is said as x >= 0 ? 1 : -1. That of a weight is worked out here, as not every runtime does so
    once and for all."""
    made = onnx.ModelProto()
    made.CopyFrom(given)
    ends = {"zero": 0.0, "one": 1.0, "minus": -1.0}
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    constants |= {
        name: numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in ends.items()
    }
    nodes, weights = [], {}
    for node in made.graph.node:
        inputs = [weights.get(name, name) for name in node.input]
        (out,) = node.output
        if node.op_type != "BipolarQuant":
            del node.input[:]
            node.input.extend(inputs)
            nodes.append(node)
        elif inputs[0] in constants:
            weights[out] = inputs[0]
            signs = np.where(numpy_helper.to_array(constants[inputs[0]]) >= 0, 1, -1)
            constants[inputs[0]] = numpy_helper.from_array(signs.astype(np.float32), inputs[0])
        else:
            nodes.append(helper.make_node("GreaterOrEqual", [inputs[0], "zero"], [f"{out}_up"]))
            nodes.append(helper.make_node("Where", [f"{out}_up", "one", "minus"], [out]))
    used = {name for node in nodes for name in node.input}
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    kept = [tensor for name, tensor in constants.items() if name in used]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(kept)
    return made
