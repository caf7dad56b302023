"""What the tests of detection and segmentation share: drawn scenes, tiny networks, a spy."""

import copy
import functools

import torch
from PIL import Image
from torch import nn

from burn.data import synthetic
from burn.images.augment import plain
from burn.images.store import Data, Split
from burn.networks import binary
from burn.networks.binary import BinaryConv2d
from burn.networks.reactnet import ReActNet
from burn.networks.resnet import ResNet

CPU = torch.device("cpu")
CLASSES = 3


def scenes(train: int, test: int, size: int = 32) -> Data:
    splits = {}
    for name, count in (("train", train), ("test", test)):
        found = synthetic.draw_scenes("voc07", name, count, size, CLASSES)
        found = {key: torch.from_numpy(array) for key, array in found.items()}
        boxes = found["boxes"][:, :6]
        found["boxes"] = torch.cat([boxes, torch.zeros(len(boxes), 1)], 1)
        splits[name] = Split(**found)
    return Data([f"class{i}" for i in range(CLASSES)], True, size, splits)


def moved(data: Data, part: str) -> Data:
    """The same data set, its splits those of `part` alone."""
    splits = {f"{name}_{part}": split for name, split in data.splits.items()}
    return Data(data.classes, True, data.size, splits | dict.fromkeys(data.splits))


def streamed(data: Data, folder) -> Data:
    """The same data set from files (PNG: not a pixel changes)."""
    splits = {}
    for name, split in data.splits.items():
        files, masks = [], []
        for i in range(len(split)):
            files.append(folder / f"{name}{i}.png")
            masks.append(folder / f"{name}{i}-mask.png")
            Image.fromarray(split.images[i].permute(1, 2, 0).numpy()).save(files[-1])
            mask = Image.fromarray(split.masks[i].numpy(), "P")
            mask.putpalette(
                [value % 256 for value in range(768)]
            )  # as VOC's: colours of no meaning
            mask.save(masks[-1])
        splits[name] = Split(split.labels, None, files, split.boxes, None, masks)
    return Data(data.classes, True, data.size, splits)


def network(arch: str = "reactnet", stem: str = "small", precision: str = "binary") -> nn.Module:
    """A tiny untrained network, frozen and in eval mode, as evaluation hands it over."""
    return copy.deepcopy(_network(arch, stem, precision))


@functools.cache
def _network(arch: str, stem: str, precision: str) -> nn.Module:
    torch.manual_seed(0)
    if arch == "reactnet":
        found = ReActNet(0.25, stem).at(precision)
    else:
        found = ResNet(arch, 0.125, stem)
    return calibrated(found).eval().requires_grad_(False)


def calibrated(found: nn.Module) -> nn.Module:
    """Batch norms with the statistics of drawn scenes, which a pretrained network's would have."""
    norms = [m for m in found.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        found.train()(plain(scenes(32, 1).split("train").images, 32))
    for norm in norms:
        norm.momentum = 0.1
    return found


def norm_statistics(found: nn.Module) -> list[torch.Tensor]:
    return [m.running_mean.clone() for m in found.modules() if isinstance(m, nn.BatchNorm2d)]


def watch(monkeypatch) -> tuple[list, list]:
    """Of each binary convolution from now on: the values of its input, and how many its weight has
    in a channel at most. They grow."""
    inputs, weights, plan = [], [], binary.plan

    class Watched:
        """How a convolution is computed, and on what."""

        def __init__(self, *args):
            self.how = plan(*args)
            self.backward = self.how.backward

        def weight(self, w):
            weights.append(max(len(row.unique()) for row in w.flatten(1)))
            return self.how.weight(w)

        def forward(self, x, w):
            inputs.append(x.unique().tolist())
            return self.how.forward(x, w)

    monkeypatch.setattr(binary, "plan", Watched)
    return inputs, weights


def assert_two_values(found: nn.Module, run, monkeypatch) -> None:
    """Every binary convolution of `found` has two weights per output channel and, while `run()`
    runs, is given inputs of two values (and the zeros that the convolution pads them with)."""
    convs = [m for m in found.modules() if isinstance(m, BinaryConv2d)]
    assert len(convs) == 26
    for conv in convs:
        assert conv.precision == "binary"
        rows = conv.effective_weight().detach().flatten(1)
        assert all(len(row.unique()) == 2 for row in rows)
        assert torch.equal(rows.amax(1), -rows.amin(1))
    with monkeypatch.context() as patch:
        inputs, weights = watch(patch)
        run()
    assert len(inputs) == len(weights) >= len(convs)
    assert all(set(values) <= {-1.0, 1.0} for values in inputs) and set(weights) == {2}
