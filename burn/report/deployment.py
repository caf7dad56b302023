"""What the exported networks are: bytes of their files, how true they are, and the time they take.

Times are there if `python -m burn latency` has been run; no step depends on them.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from burn import places
from burn.artifacts import read_json
from burn.errors import UserError
from burn.places import METRICS
from burn.report.collect import methods
from burn.report.grid import MISSING, Cell, Grid, Head

# Format of an export -> what runs it, in print; and by bits of a weight, in latency.json.
RUNS = {"packed": "torch", "openvino": "OpenVINO", "openvino-int8": "OpenVINO", "qonnx": "QONNX",
        "c": "C"}  # fmt: skip
TIMED = {1: "OpenVINO 1 bit", 8: "OpenVINO int8", 32: "OpenVINO fp32"}
SETS = (
    "C plain",
    "C SSE2",
    "C NEON",
    "C AVX2",
    "C AVX-512",
)  # the same file, for one instruction set each
RUNTIMES = ("torch", "ONNX Runtime fp32", *(TIMED[bits] for bits in (32, 8, 1)), *SETS)
COMPARED = ("difference", "apart", "agreement")
CAPTION = (
    "The networks as they are exported. File: bytes of network.safetensors (read by torch), or of the "
    "graph for OpenVINO with its weights, or of network.onnx, whose weights stand as floats for a tool-chain "
    "to pack{of_c}. Compared with the trained network on {images} images of "
    "{dataset}: the largest difference of a feature, in percent of the largest feature; images apart by "
    "more than 0.1 % of it (sums that round differently give an activation another sign, and all that "
    "follows is another); agreement of a k-NN vote. Largest difference and mean shares over seeds."
)
HOW = " ms: median for one image of {pixels} pixels on one thread of {processor}."
OF_C = "; of network.c the constants in a device's memory"
NOT_TIMED = " Times are not measured here: python -m burn latency."
TIMES = (
    "Milliseconds for a batch, median (quartiles), on {processor} ({sets}); runtimes take turns. Torch "
    "has its weights binarised beforehand. fp32 and int8 are the same network, its two-valued weights and "
    "activations as floats or bytes."
)
TIMES_C = " C: network.c without vectors and for an instruction set."


def exported(settings: dict[str, Any], results: Path) -> pd.DataFrame:
    """A line per method and format: `bits`, `bytes`, COMPARED (or nan), `pixels`, `ms` (or nan).

    Raises UserError if an export is not there or not what its place says.
    """
    lines = []
    for method in methods(settings, "main"):
        paths = [places.exported(results, method, s) / METRICS for s in settings["seeds"]]
        known = [read_json(path) for path in paths]
        for path, facts in zip(paths, known):
            if facts.get("method") != method or "formats" not in facts:
                found = facts.get("method")
                raise UserError(f"{path}: method: found {found!r}; expected {method!r}, exported")
        for form in (form for form in RUNS if form in known[0]["formats"]):
            first = known[0]["formats"][form]
            each = pd.DataFrame([facts["formats"].get(form, {}) for facts in known])
            each = each.reindex(columns=["bits", "bytes", *COMPARED])
            line = {"method": method, "format": form, "pixels": known[0]["pixels"]}
            line |= {"bits": first["bits"], "bytes": first["bytes"]}
            line |= {"difference": each.difference.max(), "apart": each.apart.mean()}
            line |= {"agreement": each.agreement.mean()}
            lines.append(line | {k: known[0].get(k) for k in ("images", "dataset")})
    return with_times(pd.DataFrame(lines), times(results))


def times(results: Path) -> dict[str, Any]:
    """What `python -m burn latency` measured, or nothing."""
    path = places.latency(results)
    return read_json(path) if path.exists() else {"rows": []}


def with_times(lines: pd.DataFrame, known: dict[str, Any]) -> pd.DataFrame:
    """`lines` with `ms`: batch 1, one thread, as exported; of C with the fastest instruction set."""
    found = {
        (method, row["runtime"]): row["median"]
        for row in known["rows"]
        for method in row["methods"]
        if row["exported"] and row["batch"] == row["threads"] == 1
    }
    by = {"packed": ["torch"], "qonnx": [], "c": SETS}
    ms = [
        min((found.get((method, name), float("nan")) for name in by.get(form, [TIMED.get(bits)])),
            key=lambda value: (value != value, value), default=float("nan"))
        for method, form, bits in zip(lines.method, lines.format, lines.bits)
    ]  # fmt: skip
    return lines.assign(ms=ms)


def grid(lines: pd.DataFrame, known: dict[str, Any]) -> Grid:
    """The printed table of `exported`."""
    first, timed = lines.iloc[0], lines.ms.notna().any()
    of_c = OF_C if "c" in set(lines.format) else ""
    caption = CAPTION.format(
        of_c=of_c, images=first.images or "no", dataset=first.dataset or "any set"
    )
    caption += (
        HOW.format(pixels=first.pixels, processor=known["machine"]["processor"])
        if timed
        else NOT_TIMED
    )
    shown = {"file (MB)": lines.bytes / 1e6, "largest difference (%)": lines.difference,
             "images apart (%)": lines.apart, "agreement (%)": lines.agreement}  # fmt: skip
    forms = dict(zip(shown, (".3f", ".2g", ".2f", ".2f")))
    if timed:
        shown, forms = shown | {"ms": lines.ms}, forms | {"ms": ".3g"}
    heads = [Head("method", "name"), Head("run by", "name"), Head("bits of a weight")]
    cells = []
    for i, line in enumerate(lines.itertuples()):
        link = f"{places.exported(Path(), line.method, 0).parent.as_posix()}/"
        cells.append([Cell(line.method, link=link), Cell(RUNS[line.format]), Cell(str(line.bits))])
        cells[-1] += [_number(column.iloc[i], forms[head]) for head, column in shown.items()]
    return Grid([*heads, *map(Head, shown)], cells, caption, "deployment")


def latency_grid(known: dict[str, Any]) -> Grid:
    """The printed table of all times: a line per network, size, batch and number of threads."""
    frame = pd.DataFrame(known["rows"])
    network = pd.DataFrame(list(frame.network))
    names = network.arch + network.get("neck", pd.Series(False, network.index)).map(
        lambda neck: " + neck" if neck is True else ""
    )
    frame = frame.assign(name=names, width=network.width)
    keys = ["name", "width", "pixels", "batch", "threads"]
    runtimes = [name for name in RUNTIMES if name in set(frame.runtime)]
    heads = [Head("network", "name"), *map(Head, keys[1:]), *map(Head, runtimes)]
    cells = []
    for values, own in frame.groupby(keys, sort=False):
        of = own.drop_duplicates("runtime").set_index("runtime")
        told = [Cell(values[0]), *(Cell(f"{value:g}") for value in values[1:])]
        for runtime in runtimes:
            told.append(_time(of.loc[runtime]) if runtime in of.index else Cell(MISSING))
        cells.append(told)
    sets = ", ".join(known["machine"]["sets"]) or "instruction sets unknown"
    caption = TIMES.format(processor=known["machine"]["processor"], sets=sets)
    caption += TIMES_C * any(name in SETS for name in runtimes)
    return Grid(heads, cells, caption, "latency")


def points(lines: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """What burn.report.figures.deployed draws: `lines`, and beside them the first column of `cells`."""
    first = cells[(cells.column == 0) & (cells.n > 0)].set_index("method")[["mean", "spread"]]
    return lines.join(first, on="method").dropna(subset="mean")


def _time(row: pd.Series) -> Cell:
    return Cell(f"{row['median']:.3g}", after=f" ({row.low:.3g}–{row.high:.3g})")


def _number(value: float, form: str) -> Cell:
    return Cell(MISSING if pd.isna(value) else f"{value:{form}}")
