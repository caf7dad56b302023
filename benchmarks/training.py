"""BURN's training step against a plain transcription of it and the machine's own matrix products.

    python benchmarks/training.py [--sizes 32 64 224] [--threads 2] [--rounds 7] [--against FOLDER]

Full-width ReActNet-A in the fully binary stage, ResNet-50 teacher; "pairs" are pairs of views.

    plain    benchmarks/plain.py: the same step in straightforward PyTorch, PyTorch's own defaults
    ours     burn.training.fit's objective and optimiser
    before   the same out of another checkout of this project (--against)

Each case lives in a process of its own (peak memory is a process's). They take turns, a step each, so
the drift of the machine cancels in the ratios, which are medians of the rounds' ratios. `of the matmul
rate` is what plain's multiplications and additions (2 for each tap, those on padding included) would
take at the rate of one large matrix product, as a share of what the step takes.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

BATCH = {32: 64, 64: 64, 224: 16}


# -- a case, in a process of its own -------------------------------------------------------------------


def serve(case: str, precision: str, size: int, batch: int, threads: int) -> None:
    """Make a step and tell its seconds for each line read; peak memory in GiB comes last."""
    import torch

    step, device = (plain if case == "plain" else ours)(precision, size, batch, threads)
    print(json.dumps(_flops(step) if case == "plain" else step()), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - began, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
    print(peak, flush=True)


def _flops(step) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def plain(precision: str, size: int, batch: int, threads: int):
    """Nothing of ours: neither memory format nor allocator settings."""
    import torch
    from plain import Step

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    views = [torch.randn(batch, 3, size, size, device=device) for _ in range(2)]
    update = Step(device)

    def step():
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            return update(views)

    return step, device


def ours(precision: str, size: int, batch: int, threads: int):
    import torch

    from burn.experiment.schema import Machine, Train
    from burn.machine import setup
    from burn.methods.burn import Method, Recipe
    from burn.networks import build
    from burn.networks.arithmetic import autocast
    from burn.training.fit import Objective, optimiser
    from burn.training.method import Context

    torch.manual_seed(0)
    device = setup(Machine(threads=threads))
    low = torch.bfloat16 if precision == "bf16" else torch.float32
    h = build.network({"arch": "resnet50"}).fold()
    h = h.to(device, low, memory_format=torch.channels_last)

    class Teacher:
        dim = 2048

        @staticmethod
        def features(x):
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                return h(x.to(low)).float()

    method = Method(
        Recipe(), Context(build.network({"arch": "reactnet"}).at("binary"), Teacher, 1000, 100)
    )
    objective = Objective(method).to(device, memory_format=torch.channels_last).train()
    optimizer = optimiser(method, Train(precision=precision))
    views = [
        torch.randn(batch, 3, size, size, device=device).contiguous(
            memory_format=torch.channels_last
        )
        for _ in range(2)
    ]

    def step():
        with autocast(device, precision):
            loss = objective(views, None, 0)[0]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step, device


# -- taking turns --------------------------------------------------------------------------------------


class Case:
    """A process that makes a step whenever it is asked."""

    def __init__(self, arguments: list, folder: Path):
        paths = os.pathsep.join([str(folder), str(Path(__file__).parent)])
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        self.first = json.loads(self.process.stdout.readline())
        self.seconds: list[float] = []

    def step(self) -> None:
        print(file=self.process.stdin, flush=True)
        self.seconds.append(float(self.process.stdout.readline()))

    def end(self) -> float:
        self.process.stdin.close()
        return float(self.process.stdout.readline())


def main() -> None:
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--sizes", type=int, nargs="+", default=list(BATCH))
    top.add_argument("--threads", type=int, default=2)
    top.add_argument("--rounds", type=int, default=7)
    top.add_argument("--against", type=Path, help="another checkout of this project")
    top.add_argument("--serve", nargs=5, help=argparse.SUPPRESS)
    args = top.parse_args()
    if args.serve:
        case, precision, *numbers = args.serve
        serve(case, precision, *map(int, numbers))
        return

    import torch
    from machine_facts import describe, matmul_rate

    from burn.networks.arithmetic import multiplies_bf16

    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precisions = ["fp32"] + (["bf16"] if multiplies_bf16(device) else [])
    print(f"{describe()}; {args.threads} threads")
    floor = {}
    for precision in precisions:
        floor[precision] = matmul_rate(
            getattr(torch, {"fp32": "float32", "bf16": "bfloat16"}[precision]), device
        )
        print(f"matrix product, {precision}: {floor[precision] / 1e9:.0f} GFLOP/s")
    print(
        "\n| pixels | batch | precision | case | pairs/s | against plain | of the matmul rate | peak GiB |"
    )
    print("| --: | --: | :-- | :-- | --: | --: | --: | --: |")
    for size in args.sizes:
        for precision in precisions:
            measure(size, precision, floor[precision], args)


def measure(size: int, precision: str, floor: float, args) -> None:
    batch = BATCH.get(size, 64)
    here = Path(__file__).resolve().parent.parent
    folders = {"plain": here} | ({"before": args.against} if args.against else {}) | {"ours": here}
    cases = {
        name: Case([name, precision, size, batch, args.threads], folder)
        for name, folder in folders.items()
    }
    for case in cases.values():
        case.step()  # to warm up
        case.seconds.clear()
    for _ in range(args.rounds):
        for case in cases.values():
            case.step()
    least = cases["plain"].first / floor
    for name, case in cases.items():
        ratios = [a / b for a, b in zip(cases["plain"].seconds, case.seconds, strict=True)]
        seconds = statistics.median(case.seconds)
        low, high = min(ratios), max(ratios)
        print(
            f"| {size} | {batch} | {precision} | {name} | {batch / seconds:.1f} | "
            f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}) | {least / seconds:.0%} | {case.end():.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
