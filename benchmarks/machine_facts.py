"""What a timing was taken on."""

import os
import platform
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
