"""Input at paper scale: two 224-pixel views of JPEG files, against torchvision's own loader.

    python benchmarks/input.py [--folder DIR] [--images 256] [--cores 1] [--rounds 7] [--batch 64]

    burn         burn.images.loader.Loader on a streamed set, colours on the CPU, as training on CPUs does it
    burn, crops  the part of it that stays on the host when the model is on a GPU: files to uint8 crops
    v2 on PIL, v2 on tensors
                 torchvision: ImageFolder, transforms.v2 on either kind of image, DataLoader; the same recipe

The cases are pinned to the same cores, have a worker process for each core, and take turns, round by
round. "Per core" divides by the CPU seconds of all of a case's processes, so that other programs on the
machine take little away; a ratio is of two neighbours in one round. DIR holds a folder of images for each
class; without it, pictures with the spectrum of photographs are drawn (1 / frequency^1.2), which at JPEG
quality 90 take as many bytes as ImageNet's, about 110 kB.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine_facts import describe
from PIL import Image
from rounds import spread, take_turns
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from burn.experiment.schema import Augment, Machine
from burn.images.augment import MEAN, STD, photometric
from burn.images.geometry import blur_size
from burn.images.loader import Loader
from burn.images.store import Split, Streamed
from burn.machine import setup

SIDES = ((500, 375), (500, 333), (375, 500))  # width, height: ImageNet's most frequent ones
QUALITY, SPECTRUM = 90, 1.2
GPUS, CORES, NEEDED = 8, 64, (500, 1000, 1500)  # pairs of views per second and GPU
AIM = 2.0
RECIPE = Augment(size=224)


def picture(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A random RGB picture whose amplitudes fall with the frequency as those of photographs do."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf  # no offset
    gray = rng.standard_normal((height, width))
    colours = 0.8 * gray + 0.6 * rng.standard_normal((3, height, width))
    pixels = np.fft.irfft2(np.fft.rfft2(colours) / frequency**SPECTRUM, (height, width))
    pixels = 118 + 55 * pixels / pixels.std((1, 2), keepdims=True)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0).copy())


def draw_pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"class{i % 2}" / f"{i:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        picture(rng, *SIDES[i % len(SIDES)]).save(path, quality=QUALITY)


# --- the cases -----------------------------------------------------------------------------------


def burn(split: Split, batch: int, workers: int) -> Callable[[int], int]:
    loader = Loader(split, RECIPE, batch, 2, 0, torch.device("cpu"), workers)

    def epoch(number: int) -> int:
        first = number * loader.steps
        return sum(len(views[0]) for views, _ in loader.run(first, first + loader.steps))

    return epoch


def burn_crops(split: Split, batch: int, workers: int) -> Callable[[int], int]:
    order = Loader(split, RECIPE, batch, 2, 0, torch.device("cpu"), workers).order

    def epoch(number: int) -> int:
        data = Streamed(split, RECIPE.crop, RECIPE.size, 2, 0, number)
        rows = order(number).tolist()
        loader = DataLoader(data, batch_sampler=rows, num_workers=workers)
        return sum(len(crops) for crops, _ in loader)

    return epoch


def torchvision(folder: Path, on: str, batch: int, workers: int) -> Callable[[int], int]:
    """`on`: "pil" or "tensor", what the random transforms work on."""
    view = v2.Compose(
        [
            v2.RandomResizedCrop(
                RECIPE.size, tuple(RECIPE.crop), interpolation=v2.InterpolationMode.BICUBIC
            ),
            v2.RandomHorizontalFlip(RECIPE.flip),
            v2.RandomApply([v2.ColorJitter(*RECIPE.jitter)], RECIPE.jitter_p),
            v2.RandomGrayscale(RECIPE.gray_p),
            v2.RandomApply(
                [v2.GaussianBlur(blur_size(RECIPE.size), tuple(RECIPE.blur))], RECIPE.blur_p
            ),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )

    def two(image: Image.Image):
        image = v2.functional.to_image(image) if on == "tensor" else image  # once for both views
        return view(image), view(image)

    data = ImageFolder(folder, two)
    loader = DataLoader(data, batch, shuffle=True, num_workers=workers, drop_last=True)
    return lambda _: sum(len(first) for (first, _), _ in loader)


# --- timing --------------------------------------------------------------------------------------


def milliseconds(work: Callable[[int], object], count: int) -> float:
    """Median CPU time of work(0), ..., work(count - 1)."""
    times = []
    for i in range(count):
        began = time.process_time()
        work(i)
        times.append(time.process_time() - began)
    return 1000 * statistics.median(times)


def parts(split: Split, batch: int) -> None:
    """Prints where our time goes."""
    data = Streamed(split, RECIPE.crop, RECIPE.size, 2)
    count = min(len(split), 64)
    crops = torch.stack([data[i][0] for i in range(count)])[:batch].unbind(1)
    generator = torch.Generator().manual_seed(0)
    read = milliseconds(lambda i: data[i], count)
    colours = milliseconds(lambda i: photometric(crops[i % 2], RECIPE, generator), 16)
    print(f"\nCPU time of an image: {read:.2f} ms from file to two crops, "
          f"{2 * colours / len(crops[0]):.2f} ms for the colours of both")  # fmt: skip


def needed(rate: float) -> None:
    """Prints how many cores feed GPUs that augment themselves, at `rate` images per core and second."""
    print(
        f"\n{GPUS} GPUs, colours on the GPUs, {rate:.0f} images per second and core of the host:\n"
    )
    print(
        f"| pairs/s per GPU | images/s | cores | {CORES} cores feed them |\n| --: | --: | --: | :-- |"
    )
    for pairs in NEEDED:
        cores = GPUS * pairs / rate
        enough = "yes" if cores <= CORES else "no"
        print(f"| {pairs} | {GPUS * pairs} | {cores:.0f} | {enough} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    print(describe())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    setup(Machine(device="cpu", threads=args.cores))  # for all cases
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        if args.folder is None:
            draw_pictures(Path(temporary), args.images)
        compare(args.folder or Path(temporary), args)


def compare(folder: Path, args: argparse.Namespace) -> None:
    samples = ImageFolder(folder).samples
    files, labels = [Path(path) for path, _ in samples], torch.tensor([k for _, k in samples])
    split, job = Split(labels, files=files), (args.batch, args.cores)
    kilobytes = statistics.mean(path.stat().st_size for path in files) / 1000
    print(
        f"{len(files)} images of {kilobytes:.0f} kB on average, {args.cores} cores, {args.rounds} rounds\n"
    )
    cases = {
        "burn": burn(split, *job),
        "v2 on PIL": torchvision(folder, "pil", *job),
        "burn, crops": burn_crops(split, *job),
        "v2 on tensors": torchvision(folder, "tensor", *job),
    }
    rounds = take_turns(cases, args.rounds)
    ratios = {}
    print("| case | images/s | images/s per core | times v2 on PIL | times v2 on tensors |")
    print("| :-- | --: | --: | --: | --: |")
    for name in cases:
        wall, core = zip(*(row[name] for row in rounds))
        for peer in ("v2 on PIL", "v2 on tensors"):
            ratios[name, peer] = [row[name][1] / row[peer][1] for row in rounds]
        cells = [spread(wall), spread(core)]
        cells += [spread(ratios[name, peer], 2) for peer in ("v2 on PIL", "v2 on tensors")]
        print(f"| {name} | " + " | ".join(cells) + " |")
    least = min(statistics.median(ratios["burn", peer]) for peer in ("v2 on PIL", "v2 on tensors"))
    print(f"\nburn has {least:.2f} times the rate per core of the faster one; the aim is {AIM}")
    parts(split, args.batch)
    needed(statistics.median(row["burn, crops"][1] for row in rounds))


if __name__ == "__main__":
    main()
