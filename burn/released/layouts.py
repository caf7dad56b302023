"""The key layouts of released checkpoints, and where each tensor goes in this project's networks.

Keys are written without a leading `module.`, and in a file of several state dicts after the name of
theirs. ReActNet's two 1x1 convolutions c -> c with a batch norm each, where a block doubles the
width, are one bank of 2c filters here: their tensors are concatenated, which changes no number.
"""

import re
import statistics
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from burn.networks import build
from burn.networks.reactnet import STEM, ReActNet
from burn.training.heads import classifier, mlp


@dataclass(frozen=True)
class Layout:
    """What a kind of file holds."""

    name: str
    formats: tuple[str, ...]  # that import-checkpoint knows it by
    mark: str  # how a key begins that no other layout has
    parts: dict[str, str]  # networks of this project -> how their keys begin, the extractor first
    fp: bool = False  # a ResNet; otherwise a ReActNet
    neck: bool = True
    gradient: str = "clipped"
    spare: str = r"(?!)"  # pattern of keys that may be there and are not needed


MOCO_SPARE = r"encoder_k\.|queue$|queue_ptr$"
# S2-BNN's blocks all have both kinds of 1x1 convolution, and use the one that fits their width.
S2BNN_SPARE = r"|encoder_q\.feature\.\d+\.(binary_pw(_down[12])?|bn2(_[12])?)\."

LAYOUTS = (
    Layout("BURN training checkpoint", ("burn",), "online_net.0.feature.",
           {"network": "online_net.0.", "classifier": "online_net.1.",
            "target": "diff_branch_net.1."},
           spare=r"backbone\.|diff_branch_net\.0\."),  # `backbone` is online_net.0 once more
    Layout("BURN stage file", ("burn",), "backbone.feature.",
           {"network": "backbone.", "classifier": "classifier.", "target": "teacher_classifier."}),
    Layout("BURN backbone", ("burn",), "feature.", {"network": ""}),
    Layout("S2-BNN checkpoint", ("s2bnn",), "encoder_q.feature.",
           {"network": "encoder_q.", "head": "encoder_q.fc."},
           neck=False, gradient="quadratic", spare=MOCO_SPARE + S2BNN_SPARE),
    Layout("MoCo v2 checkpoint", ("moco",), "encoder_q.layer1.",
           {"network": "encoder_q.", "head": "encoder_q.fc."}, fp=True, spare=MOCO_SPARE),
    Layout("FP backbone", ("burn", "moco"), "layer1.", {"network": ""}, fp=True),
    Layout("teacher in a BURN training checkpoint", ("burn",), "diff_branch_net.0.layer1.",
           {"network": "diff_branch_net.0."}, fp=True,
           spare=r"online_net\.|backbone\.|diff_branch_net\.1\."),
)  # fmt: skip


class Part:
    """A network to be filled: `module`, on the meta device, of the size that the file has.

    `sources`: for each key of `module`, the released keys whose tensors it is, one after the other.
    """

    def __init__(self, module: nn.Module, source=lambda key: (key,)):
        self.module = module
        self.sources: dict[str, tuple[str, ...]] = {k: source(k) for k in module.state_dict()}

    def wanted(self) -> dict[str, list[int]]:
        """The released keys, and the shape each should have."""
        out = {}
        for key, tensor in self.module.state_dict().items():
            count = len(self.sources[key])
            for source in self.sources[key]:
                out[source] = [tensor.shape[0] // count, *tensor.shape[1:]] if tensor.dim() else []
                if re.search(r"\.prelu[12]\.", source):
                    out[source] = [tensor.numel()]  # here (1, C, 1, 1)
        return out

    def fill(self, state: dict[str, Tensor]) -> nn.Module:
        """The module, its tensors copies of those in `state`, frozen and in eval mode."""
        filled = {}
        for key, like in self.module.state_dict().items():
            tensors = [state[source].detach() for source in self.sources[key]]
            joined = torch.cat(tensors) if like.dim() else tensors[0]  # batches seen: a number
            filled[key] = joined.to(like.dtype, copy=True).reshape(like.shape).contiguous()
        self.module.load_state_dict(filled, assign=True)
        return self.module.eval().requires_grad_(False)


def parts(layout: Layout, state: dict[str, Any]) -> dict[str, Part]:
    """The networks in a file of `layout`."""
    made: dict[str, Part] = {}
    with torch.device("meta"):  # nothing is drawn, nothing allocated
        for name, prefix in layout.parts.items():
            if name == "network":
                make = _resnet if layout.fp else _reactnet
                made[name] = make(prefix, layout, state)
                continue
            dim = made["network"].module.dim
            if name == "target":  # sits on the teacher, which need not be in the file
                dim = _size(state, dim, (prefix + "fc0.weight", 1))
            made[name] = (_head if name == "head" else _classifier)(prefix, dim, state)
    return made


def _size(state: dict[str, Any], default: int, *places: tuple[str, int]) -> int:
    """The size that most of `places` (key, axis) have: one wrong tensor is not believed."""
    shapes = [(getattr(state.get(key), "shape", ()), axis) for key, axis in places]
    sizes = [shape[axis] for shape, axis in shapes if len(shape) > axis]
    return statistics.mode(sizes) if sizes else default


def _stem(state: dict[str, Any], default: int, conv: str, norm: str) -> int:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return _size(state, default, (conv, 0), *((f"{norm}.{leaf}", 0) for leaf in leaves))


def _resnet(prefix: str, layout: Layout, state: dict) -> Part:
    width = _stem(state, 64, prefix + "conv1.weight", prefix + "bn1") / 64
    deep = prefix + "layer1.0.conv3.weight" in state or prefix + "layer1.0.bn3.weight" in state
    config = {"arch": "resnet50" if deep else "resnet18", "width": width}
    return Part(build.network(config), lambda key: (prefix + key,))


def _head(prefix: str, dim: int, state: dict) -> Part:
    hidden = _size(state, dim, (prefix + "0.weight", 0), (prefix + "0.bias", 0))
    outputs = _size(state, 1, (prefix + "2.weight", 0), (prefix + "2.bias", 0))
    return Part(mlp(dim, outputs, hidden), lambda key: (prefix + key,))


def _classifier(prefix: str, dim: int, state: dict) -> Part:
    hidden = _stem(state, 1, prefix + "fc0.weight", prefix + "bn0")
    outputs = _size(state, 1, (prefix + "fc1.weight", 0), (prefix + "fc1.bias", 0))
    theirs = {"0": "fc0", "1": "bn0", "3": "fc1"}
    return Part(classifier(dim, outputs, hidden), lambda key: (prefix + theirs[key[0]] + key[1:],))


BLOCK = {  # of a burn.networks.reactnet.Block -> of a released one
    "conv3.shift": "move11.bias",
    "conv3.weight": "binary_3x3.weight",
    "bn3": "bn1",
    "act3.before": "move12.bias",
    "act3.slope": "prelu1.weight",
    "act3.after": "move13.bias",
    "conv1.shift": "move21.bias",
    "conv1.weight": "binary_pw.weight",
    "bn1": "bn2",
    "act1.before": "move22.bias",
    "act1.slope": "prelu2.weight",
    "act1.after": "move23.bias",
}
PAIRS = {  # where the width doubles
    "binary_pw.weight": ("binary_pw_down1.weight", "binary_pw_down2.weight"),
    "bn2": ("bn2_1", "bn2_2"),
}


def _reactnet(prefix: str, layout: Layout, state: dict) -> Part:
    stem = f"{prefix}feature.0."
    width = _stem(state, STEM, stem + "conv1.weight", stem + "bn1") / STEM
    network = ReActNet(width, neck=layout.neck, gradient=layout.gradient)

    def source(key: str) -> tuple[str, ...]:
        first, _, rest = key.partition(".")
        if first == "neck":
            return (f"{prefix}fc.0.{rest}",)
        if first != "blocks":  # conv and bn, of the stem
            return (f"{stem}{first}1.{rest}",)
        number, inner = rest.split(".", 1)
        norm, _, leaf = inner.partition(".")
        theirs, end = (BLOCK[norm], f".{leaf}") if norm in BLOCK else (BLOCK[inner], "")
        doubles = network.blocks[int(number)].doubles
        names = PAIRS.get(theirs, (theirs,)) if doubles else (theirs,)
        return tuple(f"{prefix}feature.{int(number) + 1}.{name}{end}" for name in names)

    return Part(network, source)
