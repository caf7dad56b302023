"""What a timing was taken on."""

import os
import platform
import time
from pathlib import Path


def describe() -> str:
    """One line: the processor, how many of its cores this process may use, PyTorch's instruction set."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    isa = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {len(usable)} cores usable, {isa}, torch {torch.__version__}"


def matmul_rate(dtype, device, side: int = 2048, seconds: float = 1.0) -> float:
    """Multiplications and additions per second of a product of two square matrices: the floor.

    On a CPU the faster of torch.mm and a 1x1 convolution, which are of different libraries.
    """
    import torch
    import torch.nn.functional as F

    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    image = a.view(1, side, side, 1).to(memory_format=torch.channels_last)
    ways = [lambda: torch.mm(a, b), lambda: F.conv2d(image, b.view(side, side, 1, 1))]
    return max(2 * side**3 / _fastest(way, device, seconds) for way in ways)


def _fastest(run, device, seconds: float) -> float:
    import torch

    def once() -> float:
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    once()
    best, until = once(), time.perf_counter() + seconds
    while time.perf_counter() < until:
        best = min(best, once())
    return best
