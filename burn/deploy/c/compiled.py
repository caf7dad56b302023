"""Running runtimes/c: compiled by the system's C compiler, as a function of torch tensors."""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from burn.errors import UserError

FLAGS = ["-std=c99", "-ffp-contract=off", "-O3"]


def compiler() -> str | None:
    """The C compiler in force (`CC`, else cc), or None."""
    return shutil.which(os.environ.get("CC") or "cc")


def version(command: str) -> str:
    """What a compiler says it is, in a line: "gcc 12.2.0"."""
    told = subprocess.run([command, "--version"], capture_output=True, text=True).stdout
    first = told.splitlines()[0] if told else ""
    number = re.search(r"\d+\.\d+(\.\d+)?", re.sub(r"\(.*?\)", "", first))
    kind = "clang" if "clang" in first else "gcc" if "Free Software" in told else Path(command).name
    return f"{kind} {number[0]}" if number else kind


def sets() -> list[tuple[str, ...]]:
    """Flags for the kernels without vectors, and for each instruction set of this machine."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        words = set()
    out = [("-DNETWORK_PLAIN",)]
    if "sse2" in words:
        out.append(())
    if "avx2" in words:
        out.append(("-mavx2",))
    if {"avx512_vpopcntdq", "asimd", "neon"} & words:
        out.append(("-march=native",))
    return out


class Compiled:
    """(N, 3, S, S) float32 -> (N, D), both on the CPU, an image after the other, on one thread.

    Args:
        folder: runtimes/c. flags: what the compiler is told besides; the kernels go by it.

    Raises UserError if there is no compiler, or it does not compile.
    """

    def __init__(self, folder: Path, flags: tuple[str, ...] = ("-march=native",)):
        command = compiler()
        if command is None:
            raise UserError("CC: found no C compiler; expected cc, or one that CC names")
        header = (folder / "network.h").read_text()
        sizes = dict(re.findall(r"#define NETWORK_(\w+) (\d+)", header))
        self.side, self.outputs = int(sizes["SIDE"]), int(sizes["OUTPUTS"])
        self.ram = int(re.search(r"network_memory\), (\d+) bytes", header)[1])
        with tempfile.TemporaryDirectory() as place:
            library = Path(place) / "network.so"
            words = [
                command,
                *FLAGS,
                *flags,
                "-shared",
                "-fPIC",
                "-o",
                library,
                folder / "network.c",
            ]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                why = (done.stderr.strip().splitlines() or ["it says nothing"])[0]
                raise UserError(f"{folder / 'network.c'}: {command} does not compile it: {why}")
            self.library = ctypes.CDLL(str(library))
        self.library.network_set.restype = ctypes.c_char_p
        self.set = self.library.network_set().decode()
        self.memory = torch.empty(self.ram // 4)

    def __call__(self, images: Tensor) -> Tensor:
        images = images.contiguous()
        out = torch.empty(len(images), self.outputs)
        run = self.library.network_of_floats
        for image, features in zip(images, out):
            run(*(ctypes.c_void_p(t.data_ptr()) for t in (image, features, self.memory)))
        return out
