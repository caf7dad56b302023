"""How long one batch takes, measured: torch against OpenVINO with floats, bytes and bits, against
ONNX Runtime with floats where that is installed, and against C where there is a compiler.

`python -m burn latency` writes results/<run>/latency.json. Two runs never agree on it, so it is no node
of the DAG, and no node depends on it; the report shows it if it is there.

What is measured are the networks that the run has exported, at the size they are for; and, with random
weights (on which time does not depend), the same at 224 pixels, at their width and at full width.
"""

import importlib.util
import statistics
import time
from pathlib import Path
from typing import Any

from burn import places
from burn.artifacts import read_json, write_json
from burn.errors import UserError
from burn.experiment.reads import text
from burn.places import METRICS, PACKED
from burn.provenance import provenance

FULL, PIXELS = {"width": 1.0, "stem": "imagenet"}, 224  # as published
BATCHES = (1, 32)
CHUNK, LEAST = (
    0.05,
    5,
)  # seconds one runtime works before it is the next one's turn; rounds at least
# Instruction sets that decide how fast bits, bytes and floats are multiplied, as Linux calls them.
SETS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
        "asimd", "asimddp", "i8mm", "bf16")  # fmt: skip


def latency(exports: list[Path], out: Path, seconds: float) -> None:
    """Measure every network among the folders `exports`, equal ones once, and write the file `out`.

    Args:
        seconds: how long to measure for each network, setting, batch and number of threads.

    Raises UserError if OpenVINO is not installed.
    """
    try:
        import openvino  # noqa: F401
    except ImportError:
        raise UserError("latency: OpenVINO is not installed: pip install '.[export]'") from None
    known = [read_json(folder / METRICS) for folder in exports]
    groups: dict[str, list[int]] = {}
    for i, facts in enumerate(known):
        told = text({key: facts[key] for key in ("network", "precision", "pixels")})
        groups.setdefault(told, []).append(i)
    rows = []
    for of_group in groups.values():
        facts, folder = known[of_group[0]], exports[of_group[0]]
        methods = list(dict.fromkeys(known[i]["method"] for i in of_group))
        for setting, network in settings(facts, folder):
            for row in measured(network, facts["precision"], setting["pixels"], seconds):
                rows.append({"methods": methods, "network": network.config} | setting | row)
                print(f"{', '.join(methods)}: {rows[-1]}", flush=True)
    made = provenance("latency", {"seconds": seconds}, 0)
    write_json(out, {"machine": {**machine(), "processor": made["device"]}, "provenance": made,
                     "rows": rows})  # fmt: skip


def settings(facts: dict[str, Any], folder: Path):
    """(what is told of a setting, its network) for the exported network and its larger siblings."""
    import torch

    from burn.deploy import packed
    from burn.networks import build

    def sibling(config):
        torch.manual_seed(0)
        network = build.network(config).eval().requires_grad_(False)
        return network if facts["precision"] == "fp" else network.at(facts["precision"])

    yield {"pixels": facts["pixels"], "exported": True}, packed.load(folder / PACKED)
    for config in (facts["network"], facts["network"] | FULL):
        yield {"pixels": PIXELS, "exported": False}, sibling(config)


def measured(network, precision: str, pixels: int, seconds: float):
    """A row for each batch, number of threads and runtime: `median`, `low` and `high` (quartiles), in
    ms for the batch, and `runs`."""
    import os

    import torch

    from burn.deploy.runtime import Compiled, Session

    models, rival = graphs(network, precision, pixels), onnx_graph(network, precision, pixels)
    in_c = programs(network, pixels)
    before = torch.get_num_threads()
    try:
        for batch in BATCHES:
            images = torch.randn(batch, 3, pixels, pixels)
            for threads in sorted({1, os.cpu_count() or 1}):
                torch.set_num_threads(threads)
                runtimes = {"torch": network}
                runtimes |= {name: Compiled(model, threads) for name, model in models.items()}
                if rival is not None:
                    runtimes["ONNX Runtime fp32"] = Session(rival, threads)
                if threads == 1:
                    runtimes |= in_c
                for name, times in interleaved(runtimes, images, seconds).items():
                    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
                    row = {"median": statistics.median(times), "low": low, "high": high}
                    row = {key: float(f"{1000 * value:.4g}") for key, value in row.items()}
                    row |= {"runtime": name, "runs": len(times)}
                    yield {"batch": batch, "threads": threads} | row
    finally:
        torch.set_num_threads(before)


def graphs(network, precision: str, pixels: int) -> dict:
    """Name -> graph: floats, bytes and, of a binary network, bits."""
    import torch

    from burn.deploy import ir
    from burn.deploy.ranges import watched
    from burn.networks.resnet import ResNet

    wanted = {"OpenVINO fp32": (32, None)}
    if isinstance(network, ResNet):
        with watched(network) as ranges, torch.inference_mode():
            network(torch.randn(8, 3, pixels, pixels))
        wanted["OpenVINO int8"] = 8, ranges
    elif precision == "binary":
        wanted |= {"OpenVINO int8": (8, None), "OpenVINO 1 bit": (1, None)}
    return {name: ir.model(network, pixels, *how) for name, how in wanted.items()}


def onnx_graph(network, precision: str, pixels: int):
    """A binary network in ONNX's own operators, its weights and activations as floats; None of another
    network, or where ONNX Runtime is not installed."""
    if precision != "binary" or not all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))):
        return None
    from burn.deploy import qonnx
    from burn.deploy.fold import fold

    return qonnx.plain(qonnx.model(fold(network), network.dim, pixels))


def programs(network, pixels: int) -> dict:
    """Name -> binary `network` in C, without vectors and for each instruction set of this machine;
    nothing of another network, or without a compiler."""
    import tempfile

    from burn.deploy.c.compiled import Compiled, compiler, sets
    from burn.deploy.c.write import unfit, write

    if unfit(network) or compiler() is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        write(network, pixels, Path(folder))
        made = [Compiled(Path(folder), flags) for flags in sets()]
    return {f"C {program.set}": program for program in made}


def interleaved(runtimes: dict, images, seconds: float,
                clock=time.perf_counter) -> dict[str, list[float]]:  # fmt: skip
    """Seconds of each run on `images`, by name: the runtimes take turns, so that what else the machine
    does meets all of them. The first run of a turn, which finds the caches full of another's data, is
    not counted where it is short."""
    import torch

    def timed(run) -> float:
        before = clock()
        run(images)
        return clock() - before

    times: dict[str, list[float]] = {name: [] for name in runtimes}
    with torch.inference_mode():
        for run in runtimes.values():  # compiles, and warms up
            run(images)
        start, rounds = time.perf_counter(), 0
        while rounds < LEAST or time.perf_counter() - start < seconds:
            rounds += 1
            for name, run in runtimes.items():
                turn, over = [timed(run)], time.perf_counter() + CHUNK
                while turn[0] < CHUNK and time.perf_counter() < over:
                    turn.append(timed(run))
                times[name] += turn[1:] or turn
    return times


def machine() -> dict[str, Any]:
    """The processor's instruction sets, and how many threads it has."""
    import os

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = {w for line in lines if line.startswith(("flags", "Features")) for w in line.split()}
    return {"sets": [name for name in SETS if name in flags], "threads": os.cpu_count()}


def exports(results: Path, methods: list[str], seed: int) -> list[Path]:
    """The folders of what a run has exported of `methods`, those of `seed`. Raises UserError if none."""
    folders = [places.exported(results, method, seed) for method in methods]
    found = [folder for folder in folders if (folder / METRICS).is_file()]
    if not found:
        raise UserError(f"{results / 'export'}: found no exported network; has export run?")
    return found
