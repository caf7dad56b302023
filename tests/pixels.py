"""What the tests of tasks on frozen features share: images that are a class's mean plus noise."""

import numpy as np
import torch
from torch import nn

from burn.images.augment import plain
from burn.images.store import Data, Split

CPU = torch.device("cpu")
CLASSES, SIDE = 8, 4


class Pixels(nn.Module):
    """(N, 3, S, S) -> (N, 48): the pixels themselves, 4x4 of them, each at a scale of its own."""

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(x, SIDE).flatten(1)
        return x * torch.logspace(-2, 2, x.shape[1])


def gaussian_data(noise: float, train: int = 1200, test: int = 600, side: int = SIDE) -> Data:
    """Images that are a class's mean plus noise: linearly separable if the noise is small."""
    rng = np.random.default_rng(0)
    means = rng.normal(128, 20, (CLASSES, 3, side, side))
    splits = {}
    for name, count in (("train", train), ("test", test)):
        labels = np.arange(count) % CLASSES
        images = means[labels] + rng.normal(0, noise, (count, 3, side, side))
        images = images.round().clip(0, 255).astype(np.uint8)
        splits[name] = Split(torch.from_numpy(labels), torch.from_numpy(images))
    return Data([f"class{c}" for c in range(CLASSES)], True, side, splits)


def arrays(data):
    splits = (data.split("train"), data.split("test"))
    xs = [Pixels()(plain(s.images, data.size)).double().numpy() for s in splits]
    return *xs, *(s.labels.numpy() for s in splits)


def several(data: Data) -> Data:
    """The same images, each of its class and of half of the next one's, at random."""
    one_hot = torch.eye(CLASSES, dtype=torch.uint8)
    for split in data.splits.values():
        more = one_hot[(split.labels + 1) % CLASSES] * torch.randint(0, 2, (len(split), 1))
        split.labels = (one_hot[split.labels] | more).to(torch.uint8)
    return data


class Recorder(Pixels):
    """Pixels, remembering what it was shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        return super().forward(x)
