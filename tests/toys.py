"""Toy methods and images, for the training loop alone."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from burn.artifacts import Work
from burn.experiment.schema import Augment, Train
from burn.images.loader import Loader
from burn.images.store import Split
from burn.training.fit import fit
from burn.training.method import Method, Recipe, Step

CPU = torch.device("cpu")
AS_IT_IS = Augment(size=8, crop=[1.0, 1.0], flip=0, jitter_p=0, gray_p=0, blur_p=0)
PIXELS = np.random.default_rng(0).integers(0, 256, (96, 3, 8, 8), dtype=np.uint8)
IMAGES = Split(labels=torch.arange(96) % 4, images=torch.from_numpy(PIXELS))


class Toy(Method):
    """A linear classifier of the pixels; no batch norm. `at` is called with every step's number."""

    views = 0

    def __init__(self, at=lambda step: 0.0):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
        super().__init__(Recipe(), SimpleNamespace(network=network))
        self.at = at

    def step(self, views, labels, step):
        output = self.networks["network"](views[0]).float()
        loss = nn.functional.cross_entropy(output, labels) + self.at(step)
        return Step(loss, {"half": loss / 2}, output)

    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.networks["network"].parameters()])


class Constant(Toy):
    """Says the same of every image."""

    def step(self, views, labels, step):
        output = self.networks["network"](torch.ones_like(views[0]))
        return Step(output.square().mean(), outputs=output)


def loader(batch=16, views=0, seed=0, augment=AS_IT_IS, split=IMAGES, **more) -> Loader:
    return Loader(split, augment, batch, views, seed, CPU, **more)


def train(folder: Path, method=None, epochs=1, load=None, **cfg):
    """Train (a Toy) in `folder`, `epochs` times all images; returns (weights, summary, rows of the log)."""
    folder.mkdir(exist_ok=True)
    method = method or Toy()
    cfg = Train(**{"batch": 16, "precision": "fp32", "checkpoint_minutes": 0, "lr": 0.01} | cfg)
    load = load or loader(cfg.batch)
    summary = fit(method, load, cfg, epochs * load.steps, Work(folder / "out", folder, ""))
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return method.weights(), summary, rows


def stop_at(when: int):
    def at(step):
        if step == when:
            raise KeyboardInterrupt
        return 0.0

    return at
