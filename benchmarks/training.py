"""Images per second and peak memory of the training step, part by part.

    python benchmarks/training.py [--sizes 32 64 224] [--batch 64] [--threads 2] [--steps 5]

Full-width ReActNet-A, ResNet-50 teacher. Each case runs in a process of its own (peak memory is a
process's); "images" are pairs of views. `plain` is benchmarks/plain.py, the same step in
straightforward PyTorch with PyTorch's own defaults: read the ratio, the machine's speed cancels out.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

CASES = ("plain fp32", "step fp32", "step bf16", "student fp32", "student bf16",
         "teacher fp32", "teacher bf16", "augment fp32")  # fmt: skip


def measure(case: str, size: int, batch: int, threads: int, steps: int) -> dict:
    import torch

    from burn.experiment.schema import Augment, Machine
    from burn.machine import setup

    part, precision = case.split()
    torch.manual_seed(0)
    if part == "plain":  # nothing of ours: neither memory format nor allocator settings
        from plain import Step

        torch.set_num_threads(threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        views = [torch.randn(batch, 3, size, size, device=device) for _ in range(2)]
        once = Step(device)
        return timed(lambda: once(views), batch, steps, device)
    device = setup(Machine(threads=threads))
    views = [
        torch.randn(batch, 3, size, size, device=device).contiguous(
            memory_format=torch.channels_last
        )
        for _ in range(2)
    ]
    if part == "augment":
        from burn.images.augment import TwoViews

        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
        two = TwoViews(Augment(size=size))
        return timed(lambda: two(images, generator), batch, steps, device)
    return timed(_ours(part, precision, views, device), batch, steps, device)


def timed(run, batch: int, steps: int, device) -> dict:
    """Median images per second and peak memory in GiB of `run()`, after one call to warm up."""
    import torch

    run()
    seconds = []
    for _ in range(steps):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
    return {"rate": batch / statistics.median(seconds), "peak": peak}


def _ours(part: str, precision: str, views, device):
    import torch
    from torch import nn

    from burn.experiment.schema import Train
    from burn.methods.burn import Method, Recipe
    from burn.networks import build
    from burn.networks.arithmetic import autocast, in_force
    from burn.training.fit import Objective, optimiser
    from burn.training.method import Context

    precision = in_force(precision, device)
    low = torch.bfloat16 if precision == "bf16" else torch.float32
    h = (
        build.network({"arch": "resnet50"})
        .fold()
        .to(device, low, memory_format=torch.channels_last)
    )

    class Teacher:
        dim = 2048

        @staticmethod
        def features(x):
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                return h(x.to(low)).float()

    if part == "teacher":
        return lambda: [Teacher.features(v) for v in views]
    network = build.network({"arch": "reactnet"}).at("binary")
    if part == "student":
        method = Method(Recipe(), Context(network, Teacher, 1000, 100))
        method.networks = nn.ModuleDict({"network": network})
        network.to(device, memory_format=torch.channels_last)
    else:
        method = Method(Recipe(), Context(network, Teacher, 1000, 100))
        Objective(method).to(device, memory_format=torch.channels_last).train()
    optimizer = optimiser(method, Train(precision=precision))

    def update():
        from burn.networks.binary import sharing_weights
        with autocast(device, precision), sharing_weights():
            if part == "student":
                loss = sum(network(v).float().square().mean() for v in views)
            else:
                loss = method.step(views, None, 0).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return update


def main() -> None:
    top = argparse.ArgumentParser(description=__doc__)
    top.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 224])
    top.add_argument("--batch", type=int, default=64)
    top.add_argument("--threads", type=int, default=2)
    top.add_argument("--steps", type=int, default=5)
    top.add_argument("--cases", nargs="+", default=CASES)
    top.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = top.parse_args()
    if args.one:
        case, size = args.one
        print(json.dumps(measure(case, int(size), args.batch, args.threads, args.steps)))
        return
    print(f"batch {args.batch}, {args.threads} threads; images are pairs of views\n")
    print(
        "| case | pixels | images/s | against plain | peak GiB |\n| :-- | --: | --: | --: | --: |"
    )
    for size in args.sizes:
        batch = args.batch if size < 200 else min(args.batch, 16)
        plain = None
        for case in args.cases:
            command = [sys.executable, __file__, "--one", case, str(size), "--batch", str(batch),
                       "--threads", str(args.threads), "--steps", str(args.steps)]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            if case.startswith("plain"):
                plain = found["rate"]
            ratio = f"{found['rate'] / plain:.2f}" if plain and "step" in case else ""
            print(f"| {case} | {size} | {found['rate']:.1f} | {ratio} | {found['peak']:.2f} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
