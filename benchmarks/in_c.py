"""The network in C against the floor of its arithmetic, and against OpenVINO, one image on one thread.

    python benchmarks/in_c.py [--seconds 5] [--width 1.0 ...] [--pixels 224 ...]

The floor: how long the binary multiplications and additions of the network would take at the rate that
the same inner loop (`count` of kernels.c) has from the first-level cache. Padding counts for nothing in
both. All take turns, and what is told is the least processor time of each, because a machine that does
other things makes none faster.
"""

import argparse
import ctypes
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from machine_facts import describe

from burn.deploy import ir, runtime
from burn.deploy.c.compiled import FLAGS, Compiled, compiler, sets
from burn.deploy.c.tables import Tables
from burn.deploy.c.write import write
from burn.latency import interleaved
from burn.networks import build

ROUNDS, WORDS = (
    4000,
    36,
)  # of the inner loop; words of a filter: 3x3 of 128 channels, 2.3 kB of weights
INNER = f"""
#include "network.c"
uint32_t bits[{WORDS} + 4 * PIXELS + 1], weights[{WORDS} * LANES] NETWORK_ALIGNED;
int pixels_at_once(void) {{ return PIXELS; }}
uint32_t inner(void)
{{
    uint32_t kept = 0;
    for (int i = 0; i < {ROUNDS}; i++) {{
        words counts[PIXELS][PARTS];
        count(bits + i % 2, 4, 12, weights, 12 * LANES, 3, 12, PIXELS, counts);
        uint32_t each[PIXELS * LANES];
        memcpy(each, counts, sizeof each);
        for (int n = 0; n < PIXELS * LANES; n++)
            kept += each[n];
    }}
    return kept;
}}
"""


def inner_loop(folder: Path, flags: tuple[str, ...]):
    """(a function that runs the inner loop, how many multiplications that are)."""
    (folder / "inner.c").write_text(INNER)
    library = folder / f"inner{len(list(folder.iterdir()))}.so"
    words = [compiler(), *FLAGS, *flags, "-shared", "-fPIC", "-o", library, folder / "inner.c"]
    subprocess.run(words, check=True)
    loaded = ctypes.CDLL(str(library))
    return lambda _: loaded.inner(), ROUNDS * loaded.pixels_at_once() * WORDS * 32 * 16


def products(told: Tables) -> int:
    """Binary multiplications of an image, those on padding left out."""

    def taps(row) -> int:
        first = (
            i * row.stride - row.kernel // 2 + k for i in range(row.out) for k in range(row.kernel)
        )
        return sum(0 <= at < row.side for at in first)

    return sum(taps(row) ** 2 * row.channels * 16 * row.blocks for row in told.rows)


def main() -> None:
    top = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    top.add_argument("--seconds", type=float, default=5)
    top.add_argument("--width", type=float, nargs="*", default=[0.25, 1.0])
    top.add_argument("--pixels", type=int, nargs="*", default=[32, 96, 224])
    args = top.parse_args()
    torch.set_num_threads(1)
    print(f"{describe()}\n")
    print(
        "| width | pixels | flash (kB) | RAM (kB) | products | by | ms | floor | share of the floor |"
    )
    print("| --: | --: | --: | --: | --: | :-- | --: | --: | --: |")
    for width in args.width:
        for pixels in args.pixels:
            network = build.network({"arch": "reactnet", "width": width, "neck": False}).at(
                "binary"
            )
            network.eval().requires_grad_(False)
            with tempfile.TemporaryDirectory() as place:
                told = write(network, pixels, Path(place))
                runs = {"OpenVINO 1 bit": runtime.Compiled(ir.model(network, pixels, 1), 1)}
                loops = {}
                for flags in sets():
                    program = Compiled(Path(place), flags)
                    runs[program.set] = program
                    runs[f"{program.set} loop"], loops[program.set] = inner_loop(Path(place), flags)
            image = torch.randn(1, 3, pixels, pixels)
            best = {
                name: 1000 * min(t)
                for name, t in interleaved(runs, image, args.seconds, time.process_time).items()
            }
            count = products(told)
            head = f"| {width:g} | {pixels} | {told.flash / 1000:.0f} | {told.ram / 1000:.0f} | {count:.3g} |"
            print(f"{head} OpenVINO 1 bit | {best['OpenVINO 1 bit']:.3g} | | |")
            for name, each in loops.items():
                floor = best[f"{name} loop"] * count / each
                ms = best[name]
                print(
                    f"{head} C {name} | {ms:.3g} | {floor:.3g} | {100 * floor / ms:.0f} % |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
