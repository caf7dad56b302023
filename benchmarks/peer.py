"""The teacher's step against lightly: MoCo v2 on a ResNet-18 at 32 pixels, on the same images.

    python benchmarks/peer.py [--stem imagenet half small] [--images 4096] [--batch 256] [--rounds 5]

    lightly   its documentation's example of MoCo: MoCoV2Transform on PIL images, DataLoader with 2
              workers, MoCoProjectionHead, NTXentLoss with a memory bank, update_momentum, torchvision's
              ResNet-18
    burn      burn.methods.mocov2 on burn's ResNet-18, through burn.images.loader.Loader on packed images
              and burn.training.fit: an epoch of the step `teacher`

Both are pinned to the same 2 cores and let PyTorch use 2 threads. Same batch, optimiser, queue, embedding
and augmentation (burn's crop is bicubic, lightly's bilinear); `imagenet` is the documentation's stem, the others put a
3x3 convolution (stride 2 or 1) in the place of the 7x7 one and the max-pool. They take turns, an epoch
each; images are counted once, though both make two views of them.
"""

import argparse
import copy
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from lightly.loss import NTXentLoss
from lightly.models.modules import MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms.moco_transform import MoCoV2Transform
from machine_facts import describe
from PIL import Image
from rounds import spread, take_turns
from torch import nn
from torch.utils.data import DataLoader, Dataset

from burn.artifacts import Work
from burn.data.synthetic import draw
from burn.experiment.schema import Augment, Machine, Train
from burn.images.loader import Loader
from burn.images.store import Split
from burn.machine import setup
from burn.methods.mocov2 import Method, Recipe
from burn.networks import build
from burn.training.fit import fit
from burn.training.method import Context

SIZE, CORES, WORKERS = 32, 2, 2
QUEUE, EMBEDDING, MOMENTUM, LR, WEIGHT_DECAY = 4096, 128, 0.996, 0.06, 0.0
# What MoCoV2Transform does by default.
AUGMENT = Augment(size=SIZE, crop=[0.2, 1.0], jitter=[0.4, 0.4, 0.4, 0.1], jitter_p=0.8, blur_p=0.5)
AIM = 2.0


class Images(Dataset):
    """As torchvision's CIFAR-10: an array, handed out as PIL images."""

    def __init__(self, images: torch.Tensor, transform: Callable):
        self.images, self.transform = images.permute(0, 2, 3, 1).numpy(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int):
        return self.transform(Image.fromarray(self.images[i])), 0


class MoCo(nn.Module):
    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone, self.projection_head = backbone, MoCoProjectionHead(512, 512, EMBEDDING)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)

    def forward(self, x):
        return self.projection_head(self.backbone(x).flatten(start_dim=1))

    def forward_momentum(self, x):
        key = self.backbone_momentum(x).flatten(start_dim=1)
        return self.projection_head_momentum(key).detach()


def lightly(images: torch.Tensor, stem: str, batch: int) -> Callable[[int], int]:
    resnet = torchvision.models.resnet18()
    if stem != "imagenet":
        resnet.conv1 = nn.Conv2d(3, 64, 3, 2 if stem == "half" else 1, 1, bias=False)
        resnet.maxpool = nn.Identity()
    model = MoCo(nn.Sequential(*list(resnet.children())[:-1]))
    data = Images(images, MoCoV2Transform(input_size=SIZE))
    loader = DataLoader(data, batch, shuffle=True, drop_last=True, num_workers=WORKERS)
    criterion = NTXentLoss(memory_bank_size=(QUEUE, EMBEDDING))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)

    def epoch(_) -> int:
        total = 0
        for (x_query, x_key), _ in loader:
            update_momentum(model.backbone, model.backbone_momentum, m=MOMENTUM)
            update_momentum(model.projection_head, model.projection_head_momentum, m=MOMENTUM)
            loss = criterion(model(x_query), model.forward_momentum(x_key))
            total += loss.detach()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return len(loader) * batch

    return epoch


def burn(images: torch.Tensor, stem: str, batch: int) -> Callable[[int], int]:
    split = Split(torch.zeros(len(images), dtype=torch.long), images)
    loader = Loader(split, AUGMENT, batch, 2, 0, torch.device("cpu"))
    train = Train(batch=batch, optimizer="sgd", lr=LR, weight_decay=WEIGHT_DECAY)
    recipe = Recipe(queue=QUEUE, embedding=EMBEDDING, momentum=MOMENTUM, norm=False)

    def epoch(_) -> int:
        network = build.network({"arch": "resnet18", "stem": stem})
        method = Method(recipe, Context(network, None, 10, loader.steps))
        with tempfile.TemporaryDirectory() as folder:
            done = fit(method, loader, train, loader.steps, Work(Path(folder), Path(folder), ""))
        return done["images_seen"]

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--stem", nargs="+", default=["imagenet", "half", "small"])
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(describe())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    setup(Machine(device="cpu", threads=CORES))  # for both
    torch.manual_seed(0)
    images = torch.from_numpy(draw("cifar10", "train", args.images, SIZE, 10)[0])
    print(f"{args.images} images of {SIZE} pixels, batch {args.batch}, {args.rounds} rounds\n")
    print(
        "| stem | case | images/s | images per CPU second | times lightly, by the clock | by CPU time |"
    )
    print("| :-- | :-- | --: | --: | --: | --: |")
    for stem in args.stem:
        compare(stem, images, args)
    print(f"\nThe aim is {AIM} times lightly with its documentation's network (stem imagenet).")


def compare(stem: str, images: torch.Tensor, args: argparse.Namespace) -> None:
    cases = {"burn": burn(images, stem, args.batch), "lightly": lightly(images, stem, args.batch)}
    rounds = take_turns(cases, args.rounds)
    for name in cases:
        own = [spread([row[name][k] for row in rounds]) for k in (0, 1)]
        ratios = [spread([row[name][k] / row["lightly"][k] for row in rounds], 2) for k in (0, 1)]
        print("| " + " | ".join([stem, name, *own, *ratios]) + " |", flush=True)


if __name__ == "__main__":
    main()
