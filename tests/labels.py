"""Drawn images with labels, small networks, and a quick run of semi-supervised fine-tuning."""

import torch
from told import told
from torch import nn

from burn.data import synthetic
from burn.images.store import Data, Split
from burn.networks.reactnet import ReActNet
from burn.tasks.semi import Options, Run, examine

CPU = torch.device("cpu")
CLASSES, SIZE = 3, 16
QUICK = {"fraction": 0.5, "lr": [0.05, 0.005], "head": [1.0], "folds": 2, "updates": 4}


def drawn(train=60, test=30) -> Data:
    splits = {}
    for name, count in (("train", train), ("test", test)):
        images, labels = synthetic.draw("imagenet", name, count, SIZE, CLASSES)
        splits[name] = Split(torch.from_numpy(labels), torch.from_numpy(images))
    return Data([f"class{c}" for c in range(CLASSES)], True, SIZE, splits)


class Small(nn.Module):
    """(N, 3, S, S) -> (N, 8): a convolution, for what does not depend on the network."""

    dim = 8

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn = nn.Conv2d(3, self.dim, 5, 2), nn.BatchNorm2d(self.dim)

    def forward(self, x):
        return self.bn(self.conv(x)).relu().mean((2, 3))


def small():
    return Small().eval().requires_grad_(False)


def network(precision="binary", **options):
    torch.manual_seed(0)
    net = ReActNet(width=0.25, **options).at(precision)
    return net.eval().requires_grad_(False)


def run(data, net=None, seed=0, **options):
    """The scores; the labelled images as a list, which compares."""
    found = told(examine(net or small(), data, Options(**QUICK | options), seed, CPU))
    found["arrays"]["labelled"] = found["arrays"]["labelled"].tolist()
    return found


def tuned(net, updates=3, precision="fp32", point=(0.05, 10.0), **options):
    options = Options(**{"updates": updates, "precision": precision, "batch": 30} | options)
    job = Run(net, CLASSES, SIZE, options, 0, CPU, 0)
    job.expect(1)
    return job.tune(drawn().split("train"), point)
