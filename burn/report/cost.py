"""The cost table: a line per network and setting, and which methods have that network."""

from pathlib import Path
from typing import Any

import pandas as pd

from burn import places
from burn.artifacts import read_json
from burn.errors import UserError
from burn.places import METRICS
from burn.report.collect import TEACHER, methods
from burn.report.grid import Cell, Grid, Head
from burn.report.tables import last_stages, published

# Heading -> what of a count stands below, in which unit and form.
COLUMNS = {
    "width": ("width", 1, "g"), "pixels": ("pixels", 1, "g"), "classes": ("classes", 1, "g"),
    "parameters (M)": ("parameters", 1e6, ".3f"), "stored (MB)": ("bytes", 1e6, ".3f"),
    "BOPs (1e8)": ("bops", 1e8, ".4f"), "FLOPs (1e8)": ("flops", 1e8, ".4f"),
    "OPs (1e8)": ("ops", 1e8, ".4f"),
}  # fmt: skip
# What is published: ReActNet-A with a classifier for ImageNet.
PUBLISHED = {"arch": "reactnet", "neck": False, "precision": "binary",
             "width": 1.0, "stem": "imagenet", "pixels": 224, "classes": 1000}  # fmt: skip
CAPTION = (
    "Cost of each network for one image. Counted as the publications count: multiply-accumulates "
    "of convolutions and linear layers, BOPs where weights and inputs are both binary, FLOPs "
    "elsewhere; OPs = BOPs/64 + FLOPs. Not counted: batch norm, shifts, PReLU, shortcuts, pooling, "
    "biases, and the scale of a binary filter. Stored: 1 bit per binary weight, 32 bits for every "
    "other number (a scale per binary filter, shifts, slopes, real weights, and what is left of batch "
    "norms when they are folded). Before the binary stage weights are real: its products are FLOPs."
)
COUNTED = (
    "A linear classifier is counted where classes is above 0. Published figures are those of "
    "{source}: 0.1084 of the stem and 0.0102 of the classifier 1024x1000 make 0.1186 FLOPs, and "
    "with 48.1690/64 BOPs 0.8713 OPs. The neck, a Linear(1024,1024) that belongs to BURN's "
    "features, is not in them; it adds 0.0105."
)


def counts(results: Path, method: str, stage: str) -> list[dict[str, Any]]:
    """What a method's network costs after `stage`, in every setting. Raises UserError if nothing is
    known."""
    path = places.cost(results) / METRICS
    counted = read_json(path)
    if not isinstance(counted, dict):
        raise UserError(f"{path}: found a {type(counted).__name__}; expected a mapping")
    if method not in counted:
        raise UserError(f"{path}: found {', '.join(counted)}; expected {method}, too")
    precision = "fp" if stage == TEACHER else stage
    try:
        network = counted[method]["network"]
        about = {"method": method, "arch": network["arch"], "neck": network.get("neck", False)}
        return [about | c for c in counted[method]["counts"] if c["precision"] == precision]
    except (KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path}: {method}: found {counted[method]!r:.80}; expected what the step cost wrote"
        ) from None


def records(settings: dict[str, Any], frame: pd.DataFrame, results: Path) -> pd.DataFrame:
    """A line per main row and setting, at the precision of its last stage."""
    last = last_stages(frame)
    lines = [c for m in methods(settings, "main") for c in counts(results, m, last[m])]
    for line in lines:
        fits = all(line[key] == value for key, value in PUBLISHED.items())
        for what in ("flops", "ops"):
            line[f"published_{what}"] = _published(what).published if fits else ""
    return pd.DataFrame(lines)


def _published(what: str) -> pd.Series:
    return published().loc["reactnet_a", "imagenet", "cost", f"{what}_1e8"]


def grid(lines: pd.DataFrame) -> Grid:
    """The printed table, equal networks once, and in its caption the methods of each network."""
    names = lines.arch + lines.neck.map({True: " + neck", False: ""})
    names += lines.precision.map(lambda p: "" if p == "binary" else f" ({p})")
    owners = lines.groupby(names, sort=False).method.unique()
    said = "; ".join(f"{name}: {', '.join(of_it)}" for name, of_it in owners.items())
    caption = f"{CAPTION} Networks: {said}."
    if lines.published_ops.any():
        caption += " " + COUNTED.format(source=_published("ops").published_source)
    shown = pd.DataFrame({"network": names})
    for head, (key, unit, form) in COLUMNS.items():
        shown[head] = [f"{number / unit:{form}}" for number in lines[key]]
    shown[["published FLOPs", "published OPs"]] = lines[["published_flops", "published_ops"]]
    order = shown.network.map(list(owners.index).index)
    shown = shown.loc[order.sort_values(kind="stable").index].drop_duplicates()
    link = (places.cost(Path()) / METRICS).as_posix()
    heads = [Head(head, "number" if n else "name") for n, head in enumerate(shown)]
    cells = [[Cell(name, link=link), *map(Cell, rest)] for name, *rest in shown.values.tolist()]
    return Grid(heads, cells, caption, "cost")


def points(cells: pd.DataFrame, results: Path) -> pd.DataFrame:
    """What burn.report.plots.tradeoff draws: the first column of `cells`, and beside it what that
    network costs at the size it was trained at (`ops`, `bytes`, `pixels`)."""
    first = cells[(cells.column == 0) & (cells.n > 0)].reset_index(drop=True)
    networks = [counts(results, cell.method, cell.stage)[0] for cell in first.itertuples()]
    return first.join(pd.DataFrame(networks)[["ops", "bytes", "pixels"]])
