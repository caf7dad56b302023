"""Two processes of one thread against one process of two: how much training together costs on a CPU.

    python benchmarks/processes.py [--images 2048] [--batch 64] [--rounds 3]

The teacher's MoCo v2 (ResNet-18, quarter width, stem half) on drawn images of 32 pixels, the same
images an update in both cases. They take turns; a round of each is its own start, training and end,
and only the training is timed. Prints images a second and the ratio.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine_facts import describe
from rounds import spread

SIZE = 32


def serve(threads: int, count: int, batch: int) -> None:
    """Train on `count` images, as one of the processes; the first prints how many a second."""
    import torch

    from burn.artifacts import Work
    from burn.data.synthetic import draw
    from burn.experiment.schema import Augment, Machine, Train
    from burn.images.loader import Loader
    from burn.images.store import Split
    from burn.machine import setup
    from burn.methods.mocov2 import Method, Recipe
    from burn.networks import build
    from burn.training.distributed import world
    from burn.training.fit import fit
    from burn.training.method import Context

    device, (rank, size) = setup(Machine(device="cpu", threads=threads)), world()
    images = torch.from_numpy(draw("cifar10", "train", count, SIZE, 10)[0])
    split = Split(torch.zeros(count, dtype=torch.long), images)
    loader = Loader(split, Augment(size=SIZE), batch // size, 2, 0, device, 0, rank, size)
    network = build.network({"arch": "resnet18", "width": 0.25, "stem": "half"})
    method = Method(Recipe(queue=1024), Context(network, None, 10, loader.steps))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = fit(
            method,
            loader,
            Train(batch=loader.batch),
            loader.steps,
            Work(Path(folder), Path(folder), ""),
        )
        seconds = time.perf_counter() - began
    if rank == 0:
        print(json.dumps(done["images_seen"] / seconds))
    if size > 1:
        torch.distributed.destroy_process_group()


def measure(processes: int, args) -> float:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    words = [sys.executable, __file__, "--serve", str(2 // processes)]
    words += ["--images", str(args.images), "--batch", str(args.batch)]
    root = str(Path(__file__).resolve().parents[1])
    ranks = []
    for rank in range(processes):
        environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": str(2 // processes)}
        if processes > 1:
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
                            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
        ranks.append(subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True))
    first = ranks[0].communicate()[0]
    if any(rank.wait() for rank in ranks):
        sys.exit("a process failed; its message stands above")
    return float(first.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.images, args.batch)
    print(describe())
    rounds = [{n: measure(n, args) for n in (1, 2)} for _ in range(args.rounds)]
    for n in (1, 2):
        print(f"{n} x {2 // n} threads: {spread([r[n] for r in rounds])} images/s")
    ratios = [r[2] / r[1] for r in rounds]
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
