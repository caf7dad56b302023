"""A 3x3 convolution by matrix products against the library's, shape by shape: the rule of `plan`.

    python benchmarks/convolution.py [--batch 64] [--threads 1] [--rounds 5]

Forward and both gradients, in turn, fp32. A ratio above 1 says that the products win; * marks what
burn.networks.convolution.plan chooses for the shape.
"""

import argparse
import statistics
import time

import torch
from machine_facts import describe

from burn.machine import _keep_freed_memory
from burn.networks.convolution import Direct, Winograd, axis, convolve, plan

CHANNELS = (32, 64, 128, 256, 512, 1024)
SIDES = (1, 2, 4, 7, 8, 14, 16, 28, 32, 56)
MOST = 2**24  # elements of a map: larger ones take long and say nothing new


def seconds(x, w, how, rounds: int):
    """A function that makes one forward and backward pass, timed."""

    def once() -> float:
        began = time.perf_counter()
        out = convolve(x, how.weight(w), how)
        out.backward(torch.ones_like(out))
        x.grad = w.grad = None
        return time.perf_counter() - began

    once()
    return once


def main() -> None:
    top = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    top.add_argument("--batch", type=int, default=64)
    top.add_argument("--threads", type=int, default=1)
    top.add_argument("--rounds", type=int, default=5)
    args = top.parse_args()
    torch.set_num_threads(args.threads)
    _keep_freed_memory()
    print(f"{describe()}; batch {args.batch}, {args.threads} threads\n")
    for stride in (1, 2):
        print(f"| stride {stride}: channels | " + " | ".join(f"{s}x{s}" for s in SIDES) + " |")
        print("| --: |" + " --: |" * len(SIDES))
        for channels in CHANNELS:
            row = []
            for side in SIDES:
                batch = args.batch if side < 14 else max(4, args.batch // 4)
                if batch * channels * side**2 > MOST or (side > 16 and channels > 256):
                    row.append("")
                    continue
                x = torch.randn(batch, channels, side, side).contiguous(
                    memory_format=torch.channels_last
                )
                w = torch.randn(channels, channels, 3, 3).contiguous(
                    memory_format=torch.channels_last
                )
                x.requires_grad_(), w.requires_grad_()
                cases = [
                    seconds(x, w, how, args.rounds)
                    for how in (Direct(stride, 1), Winograd(axis(side, stride), axis(side, stride)))
                ]
                ratios = [cases[0]() / cases[1]() for _ in range(args.rounds)]
                chosen = "*" if isinstance(plan(x, w, stride, 1), Winograd) else ""
                row.append(f"{statistics.median(ratios):.1f}{chosen}")
            print(f"| {channels} | " + " | ".join(row) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
