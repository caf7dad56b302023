"""Tables: one function fills the cells, others write them down (CSV, Markdown, HTML; LaTeX: latex)."""

import csv
import html
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from burn.report.page import anchor, html_table

DIGITS = 2  # decimals shown, as the published figures have; the CSV has them all
MISSING = "–"
# The score a task is known by on a data set, the first it has; and what it is called in headings.
HEADLINES = {"top1": "Top-1", "map": "mAP", "ap": "AP", "miou": "mIoU"}


@dataclass(frozen=True)
class Row:
    """One line of a table: a method after a stage.

    `keys` are the leading cells; only `ranked` lines compete for bold and underline; only a
    `final` line is a method's result, which a published figure may stand beside: the one of that
    method, or of `published`. `facts` are more columns of the CSV.
    """

    method: str
    stage: str
    keys: tuple[str, ...]
    ranked: bool = True
    final: bool = True
    published: str = ""
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Column:
    """One column of a table; in the comparison it is `name` among the columns of `group`."""

    label: str
    protocol: str
    metric: str
    group: str = ""
    name: str = ""

    @property
    def headline(self) -> str:
        """What its metric is called in a heading."""
        return HEADLINES.get(self.metric, self.metric)


@dataclass
class Cell:
    """Mean and standard deviation (n - 1 in the denominator) over `n` seeds, in percent.

    `within` is the spread a task reports of one examination, where it does (few-shot drawings).
    """

    column: Column
    dataset: str
    stand_in: bool
    classes: int
    mean: float
    std: float
    n: int
    epochs: int | None
    collapsed: bool
    published: str
    source: str
    within: float = math.nan
    mark: str = ""  # best, second, or nothing

    @property
    def spread(self) -> float:
        """The standard deviation that is shown: over seeds; of one seed `within`; else 0."""
        found = self.std if self.n > 1 else self.within
        return 0.0 if math.isnan(found) else found


Table = list[tuple[Row, list[Cell]]]


@cache
def published() -> dict[tuple[str, str, str, str], tuple[str, str]]:
    """(method, data set, task, metric) -> (figure as printed, source).

    Where two sources print one figure the first line of published.csv holds: the paper's table.
    """
    known: dict[tuple[str, str, str, str], tuple[str, str]] = {}
    with open(Path(__file__).parent / "published.csv", newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            key = (line["method"], line["dataset"], line["task"], line["metric"])
            known.setdefault(key, (line["value"], line["source"]))
    return known


def table(frame: pd.DataFrame, rows: list[Row], columns: list[Column]) -> Table:
    """Fill rows x columns from a tidy frame (burn.report.collect); a hole has n = 0."""
    groups = dict(list(frame.groupby(["protocol", "method", "stage", "metric"])))
    sets = frame.drop_duplicates("protocol").set_index("protocol")
    lines = []
    for row in rows:
        cells = []
        for column in columns:
            group = groups.get((column.protocol, row.method, row.stage, column.metric))
            cell = _cell(row, column, sets.loc[column.protocol], group)
            inner = groups.get((column.protocol, row.method, row.stage, f"{column.metric}_std"))
            if inner is not None:
                cell.within = float(inner.value.mean())
            cells.append(cell)
        lines.append((row, cells))
    for j in range(len(columns)):
        _rank([cells[j] for row, cells in lines if row.ranked and cells[j].n])
    return lines


def _cell(row: Row, column: Column, facts: pd.Series, group: pd.DataFrame | None) -> Cell:
    key = (row.published or row.method, facts.dataset, facts.task, column.metric)
    figure, source = published().get(key, ("", "")) if row.final else ("", "")
    given = (column, facts.dataset, bool(facts.stand_in), int(facts.classes))
    if group is None:
        return Cell(*given, math.nan, math.nan, 0, None, False, figure, source)
    mean, std = float(group.value.mean()), float(group.value.std(ddof=1))
    epochs = group.epochs.iloc[0]
    epochs = None if pd.isna(epochs) else int(epochs)
    return Cell(*given, mean, std, len(group), epochs, bool(group.collapsed.any()), figure, source)


def _rank(cells: list[Cell]) -> None:
    """Mark the best and the second of a column; what prints alike ranks alike."""
    values = sorted({round(cell.mean, DIGITS) for cell in cells}, reverse=True)
    for cell in cells:
        place = values.index(round(cell.mean, DIGITS))
        cell.mark = ("best", "second")[place] if place < 2 else ""


def has_published(lines: Table, j: int) -> bool:
    """Whether column `j` has a published figure to put beside it."""
    return any(cells[j].published for _, cells in lines)


def to_csv(lines: Table) -> str:
    """One line per method, stage, protocol and metric, numbers unrounded, holes empty."""
    records = []
    for row, cells in lines:
        for cell in cells:
            records.append(
                {
                    "method": row.method,
                    "stage": row.stage,
                    **dict(row.facts),
                    "epochs": cell.epochs,
                    "protocol": cell.column.protocol,
                    "dataset": cell.dataset,
                    "stand_in": cell.stand_in,
                    "metric": cell.column.metric,
                    "mean": None if math.isnan(cell.mean) else cell.mean,
                    "std": None if math.isnan(cell.std) else cell.std,
                    "n": cell.n,
                    "within_std": None if math.isnan(cell.within) else cell.within,
                    "published": cell.published,
                    "published_source": cell.source,
                    "collapsed": cell.collapsed,
                }
            )
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def show(cell: Cell, style: dict[str, str]) -> str:
    if not cell.n:
        return style["missing"]
    text = style[cell.mark].format(f"{cell.mean:.{DIGITS}f}")
    if cell.n > 1 or not math.isnan(cell.within):
        text += f" {style['pm']} {cell.spread:.{DIGITS}f}"
    return text + (style["dagger"] if cell.collapsed else "")


MARKDOWN = {"": "{}", "best": "**{}**", "second": "<ins>{}</ins>"}
MARKDOWN |= {"pm": "±", "dagger": "†", "missing": MISSING}


def to_markdown(lines: Table, heads: tuple[str, ...], beside: bool = True) -> str:
    """A pipe table; with `beside`, a published column follows each column that has figures."""
    columns = lines[0][1]
    shown = [beside and has_published(lines, j) for j in range(len(columns))]
    top, rule = list(heads), [":--"] * len(heads)
    for cell, with_published in zip(columns, shown, strict=True):
        top.append(cell.column.label)
        if with_published:
            top.append("published (real set)" if cell.stand_in else "published")
        rule += ["--:"] * (1 + with_published)
    body = []
    for row, cells in lines:
        line = list(row.keys)
        for cell, with_published in zip(cells, shown, strict=True):
            line += [show(cell, MARKDOWN), cell.published][: 1 + with_published]
        body.append(line)
    return pipe_table(top, rule, body)


def pipe_table(top: list[str], rule: list[str], body: list[list[str]]) -> str:
    """Markdown of headings, alignments (":--", "--:") and lines of cells."""
    return "".join("| " + " | ".join(line) + " |\n" for line in (top, rule, *body))


HTML = {"": "{}", "best": "<b>{}</b>", "second": "<u>{}</u>"}
HTML |= {"pm": "±", "dagger": "†", "missing": MISSING}


def to_html(
    lines: Table,
    heads: tuple[str, ...],
    link: Callable[[Row, Cell], str],
    beside: bool = True,
) -> str:
    """The table for the HTML page; every number leads to `link(row, cell)`."""
    columns = lines[0][1]
    shown = [beside and has_published(lines, j) for j in range(len(columns))]
    top = [html.escape(head) for head in heads]
    for cell, with_published in zip(columns, shown, strict=True):
        top += [html.escape(cell.column.label), '<span class="published">published</span>'][
            : 1 + with_published
        ]
    body = []
    for row, cells in lines:
        line = [html.escape(key) for key in row.keys]
        for cell, with_published in zip(cells, shown, strict=True):
            grey = f'<span class="published" title="{html.escape(cell.source)}">{cell.published}</span>'
            text = show(cell, HTML)
            line += [anchor(text, link(row, cell)) if cell.n else text, grey][: 1 + with_published]
        body.append(line)
    return html_table(top, body, len(heads))
