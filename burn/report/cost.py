"""The cost table: a line per network and setting, and which methods have that network."""

import csv
import html
import io
from pathlib import Path
from typing import Any

import pandas as pd

from burn import places
from burn.artifacts import read_json
from burn.errors import UserError
from burn.places import METRICS
from burn.report.collect import TEACHER, methods
from burn.report.latex import escape, latex_table
from burn.report.page import Grid, anchor, html_table
from burn.report.rows import last_stages
from burn.report.tables import Table, pipe_table, published

HEADS = ("network", "width", "pixels", "classes", "parameters (M)", "stored (MB)", "BOPs (1e8)",
         "FLOPs (1e8)", "OPs (1e8)", "published FLOPs", "published OPs")  # fmt: skip
# What is published: ReActNet-A with a classifier for ImageNet.
PUBLISHED = {"arch": "reactnet", "neck": False, "precision": "binary",
             "width": 1.0, "stem": "imagenet", "pixels": 224, "classes": 1000}  # fmt: skip
CAPTION = (
    "Cost of each network for one image. Counted as the publications count: multiply-accumulates "
    "of convolutions and linear layers, BOPs where weights and inputs are both binary, FLOPs "
    "elsewhere; OPs = BOPs/64 + FLOPs. Not counted: batch norm, shifts, PReLU, shortcuts, pooling, "
    "biases, and the scale of a binary filter. Stored: 1 bit per binary weight, 32 bits for every "
    "other number (a scale per binary filter, shifts, slopes, batch norm with its running "
    "statistics, real weights). Before the binary stage weights are real: its products are FLOPs."
)
COUNTED = (
    "A linear classifier is counted where classes is above 0. Published figures are those of "
    "{source}: 0.1084 of the stem and 0.0102 of the classifier 1024x1000 make 0.1186 FLOPs, and "
    "with 48.1690/64 BOPs 0.8713 OPs. The neck, a Linear(1024,1024) that belongs to BURN's "
    "features, is not in them; it adds 0.0105."
)


def counted(results: Path, method: str) -> dict[str, Any]:
    """What is counted of a method's network. Raises UserError if nothing is."""
    path = places.cost(results) / METRICS
    found = read_json(path)
    if method not in found:
        raise UserError(f"{path}: found {', '.join(found)}; expected {method}, too")
    return found[method]


def records(settings: dict[str, Any], frame: pd.DataFrame, results: Path) -> list[dict[str, Any]]:
    """A record per main row and setting, at the precision of its last stage. Raises UserError."""
    last, out = last_stages(frame), []
    for method in methods(settings, "main"):
        found = counted(results, method)
        network = found["network"]
        about = {"method": method, "arch": network["arch"], "neck": network.get("neck", False)}
        precision = "fp" if method == TEACHER else last[method]
        for count in found["counts"]:
            if count["precision"] == precision:
                out.append(about | count | _published(about | count))
    return out


def _published(record: dict[str, Any]) -> dict[str, str]:
    fits = all(record[key] == value for key, value in PUBLISHED.items())
    known = published() if fits else {}
    return {
        f"published_{what}": known.get(("reactnet_a", "imagenet", "cost", f"{what}_1e8"), ("",))[0]
        for what in ("flops", "ops")
    }


def to_csv(found: list[dict[str, Any]]) -> str:
    """One line per method and setting, exact numbers."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return out.getvalue()


def lines(found: list[dict[str, Any]]) -> tuple[list[list[str]], dict[str, list[str]]]:
    """The cells of the printed table, equal networks once; and the methods of each network."""
    body: dict[tuple, None] = {}
    owners: dict[str, list[str]] = {}
    names = [_network(record) for record in found]
    for record, name in sorted(zip(found, names), key=lambda pair: names.index(pair[1])):
        if record["method"] not in owners.setdefault(name, []):
            owners[name].append(record["method"])
        body[(name, *_cells(record))] = None
    return [list(cells) for cells in body], owners


def _network(record: dict[str, Any]) -> str:
    name = record["arch"] + (" + neck" if record["neck"] else "")
    return name if record["precision"] == "binary" else f"{name} ({record['precision']})"


def _cells(record: dict[str, Any]) -> list[str]:
    millions = [f"{record[key] / 1e6:.3f}" for key in ("parameters", "bytes")]
    operations = [f"{record[key] / 1e8:.4f}" for key in ("bops", "flops", "ops")]
    setting = [f"{record['width']:g}", str(record["pixels"]), str(record["classes"])]
    beside = [record["published_flops"], record["published_ops"]]
    return [*setting, *millions, *operations, *beside]


def grid(found: list[dict[str, Any]], out: Path) -> Grid:
    """Write tables/cost into the folder `out`; returns it for the page."""
    body, owners = lines(found)
    said = "; ".join(f"{name}: {', '.join(who)}" for name, who in owners.items())
    caption = f"{CAPTION} Networks: {said}."
    if any(record["published_ops"] for record in found):
        source = published()["reactnet_a", "imagenet", "cost", "ops_1e8"][1]
        caption += " " + COUNTED.format(source=source)
    align = [":--"] + ["--:"] * (len(HEADS) - 1)
    markdown = pipe_table(list(HEADS), align, body)
    latex = latex_table(
        [[escape(head) for head in HEADS]],
        [list(map(escape, line)) for line in body],
        1,
        caption,
        "cost",
    )
    texts = {".csv": to_csv(found), ".md": f"{markdown}\n*{caption}*\n", ".tex": latex}
    for suffix, content in texts.items():
        (out / "cost").with_suffix(suffix).write_text(content, encoding="utf-8")
    linked = [
        [anchor(html.escape(name), f"../cost/{METRICS}"), *map(html.escape, rest)]
        for name, *rest in body
    ]
    return Grid(markdown, html_table(list(HEADS), linked), caption, "cost")


def points(settings: dict[str, Any], lines: Table, results: Path) -> list[dict[str, Any]]:
    """What burn.report.plots.tradeoff draws: the first column of `lines`, a line per method and stage,
    beside what that network costs at the size it was trained at."""
    out = []
    for row, cells in lines:
        counts = counted(results, row.method)["counts"]
        precision = "fp" if row.stage == TEACHER else row.stage
        count = next(c for c in counts if c["precision"] == precision)
        if cells[0].n:
            out.append(
                {"method": row.method, "stage": row.stage, "last": row.final, "name": row.method}
                | {"score": cells[0].mean, "spread": cells[0].spread}
                | {"ops": count["ops"], "bytes": count["bytes"], "pixels": count["pixels"]}
            )
    return out
