"""Tables: one function fills the cells, three write them down (CSV, Markdown, LaTeX)."""

import csv
import io
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

DIGITS = 2  # decimals shown, as the published figures have; the CSV has them all
MISSING = "–"


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
    """One column of a table."""

    label: str
    protocol: str
    metric: str


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


def _show(cell: Cell, style: dict[str, str]) -> str:
    if not cell.n:
        return style["missing"]
    text = style[cell.mark].format(f"{cell.mean:.{DIGITS}f}")
    if cell.n > 1:
        text += f" {style['pm']} {cell.std:.{DIGITS}f}"
    elif not math.isnan(cell.within):
        text += f" {style['pm']} {cell.within:.{DIGITS}f}"
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
            line += [_show(cell, MARKDOWN), cell.published][: 1 + with_published]
        body.append(line)
    return pipe_table(top, rule, body)


def pipe_table(top: list[str], rule: list[str], body: list[list[str]]) -> str:
    """Markdown of headings, alignments (":--", "--:") and lines of cells."""
    return "".join("| " + " | ".join(line) + " |\n" for line in (top, rule, *body))


SPECIAL = {c: "\\" + c for c in "%_&#${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "–": "--",
    "×": r"$\times$",
}


def escape(text: str) -> str:
    """`text` as LaTeX prints it."""
    return re.sub("[" + re.escape("".join(SPECIAL)) + "]", lambda m: SPECIAL[m[0]], text)


LATEX = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
LATEX |= {"pm": r"$\pm$", "dagger": r"$^\dagger$", "missing": "--"}


def to_latex(
    lines: Table, heads: tuple[str, ...], caption: str, label: str, beside: bool = True
) -> str:
    r"""A `table` environment to \input; the document needs \usepackage{booktabs}."""
    columns = lines[0][1]
    shown = [beside and has_published(lines, j) for j in range(len(columns))]
    top, second, rules = [""] * len(heads), [escape(h) for h in heads], []
    at = len(heads) + 1
    for cell, with_published in zip(columns, shown, strict=True):
        width = 1 + with_published
        top.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(cell.column.label)}}}")
        second += ["ours", "published"][:width]
        rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    top_lines = [top, second]
    if not any(shown):  # nothing to tell apart: one line of headings is enough
        top_lines, rules = [[*second[: len(heads)], *top[len(heads) :]]], []
    body = []
    for row, cells in lines:
        line = [escape(key) for key in row.keys]
        for cell, with_published in zip(cells, shown, strict=True):
            line += [_show(cell, LATEX), cell.published][: 1 + with_published]
        body.append(line)
    spec = "l" * len(heads) + "r" * (at - 1 - len(heads))
    return latex_table(top_lines, "".join(rules), body, spec, caption, label)


def latex_table(
    top: list[list[str]], rules: str, body: list[list[str]], spec: str, caption: str, label: str
) -> str:
    """The environment around lines of LaTeX cells; `rules` go under the first line of headings."""

    def rows(many: list[list[str]]) -> list[str]:
        return ["    " + " & ".join(line) + r" \\" for line in many]

    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(caption)}}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{{spec}}}",
            r"    \toprule",
            *rows(top[:1]),
            *(["    " + rules] if rules else []),
            *rows(top[1:]),
            r"    \midrule",
            *rows(body),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
