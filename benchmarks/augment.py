"""Two-view augmentation, in batches (burn.images.augment) against image by image (torchvision).

    python benchmarks/augment.py [--size 32 64 224] [--threads 2] [--batch 64] [--device cpu]

Prints pairs of normalised views per second: the best of five timed rounds, in
turns. Images are random, smooth and uint8; for views of 224 pixels they are 256 x 256, else
of the views' own size.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from burn.experiment.schema import Augment
from burn.images.augment import MEAN, STD, TwoViews
from burn.images.geometry import blur_size


def torchvision_view(cfg: Augment) -> v2.Compose:
    """The same recipe as a torchvision transform of one uint8 image."""
    return v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomResizedCrop(
                cfg.size,
                scale=tuple(cfg.crop),
                interpolation=v2.InterpolationMode.BICUBIC,
                antialias=True,
            ),
            v2.RandomHorizontalFlip(cfg.flip),
            v2.RandomApply([v2.ColorJitter(*cfg.jitter)], cfg.jitter_p),
            v2.RandomGrayscale(cfg.gray_p),
            v2.RandomApply([v2.GaussianBlur(blur_size(cfg.size), tuple(cfg.blur))], cfg.blur_p),
            v2.Normalize(MEAN, STD),
        ]
    )


def smooth_images(n: int, side: int, device: str) -> torch.Tensor:
    coarse = torch.rand(n, 3, 6, 6, device=device)
    images = F.interpolate(coarse, size=(side, side), mode="bicubic").clamp_(0, 1)
    return (images * 255).to(torch.uint8)


def rates(works: list, images: int, device: str, rounds: int = 5, seconds: float = 0.4) -> list:
    """Images per second of each of `works`, which treat `images` of them; rounds take turns."""

    def timed(work, calls: int) -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return (time.perf_counter() - begin) / calls

    for work in works:
        timed(work, 1)
    calls = [max(1, round(seconds / timed(work, 1))) for work in works]
    times = [[timed(*job) for job in zip(works, calls, strict=True)] for _ in range(rounds)]
    return [images / min(column) for column in zip(*times, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, nargs="+", default=[32, 64, 224])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)

    print(f"{args.device}, {args.threads} threads, batch {args.batch}, pairs of views per second\n")
    print("| view | image | burn | torchvision, image by image | ratio |")
    print("|---|---|---|---|---|")
    for size in args.size:
        side = 256 if size == 224 else size
        images = smooth_images(args.batch, side, args.device)
        cfg = Augment(size=size)
        views, one = TwoViews(cfg), torchvision_view(cfg)

        def image_by_image(images=images, one=one):
            return [torch.stack([one(image) for image in images]) for _ in range(2)]

        def in_batches(images=images, views=views):
            return views(images, generator)

        ours, theirs = rates([in_batches, image_by_image], args.batch, args.device)
        print(f"| {size} | {side} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.1f} |", flush=True)


if __name__ == "__main__":
    main()
