"""A table as it is printed: cells of text and marks, which Markdown, LaTeX and page.html write alike."""

import re
from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

import pandas as pd

from burn.report.tables import DIGITS

MISSING = "–"
PACKAGES = ("booktabs", "graphicx", "xcolor")  # what a LaTeX document needs for these tables
WIDE = 5  # columns; a LaTeX table of more goes across both, shrunk to the width of the text
# How each mark is written; page.html says it of HTML.
MARKDOWN = {"": "{}", "best": "**{}**", "second": "<ins>{}</ins>", "published": "{}"}
LATEX = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}",
         "published": r"\textcolor{{gray}}{{{}}}"}  # fmt: skip
SPECIAL = {c: "\\" + c for c in "%_&#${}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "†": r"$^\dagger$", "∗": r"$^\ast$", "–": "--", "×": r"$\times$",
}  # fmt: skip


class Cell(NamedTuple):
    """`text` under its mark (best, second, published or nothing), then `after`; all of it a link to
    `link`, a place in the run, if there is one; `title` is said of it on demand."""

    text: str
    mark: str = ""
    after: str = ""
    link: str = ""
    title: str = ""


class Head(NamedTuple):
    """The heading of a column of `kind` name (to the left), number or published; in LaTeX it has
    `levels`, from the top."""

    text: str
    kind: str = "number"
    levels: tuple[str, ...] = ()


class Grid(NamedTuple):
    """A printed table; `base` is its name in tables/, `caption` stands below."""

    heads: list[Head]
    lines: list[list[Cell]]
    caption: str = ""
    base: str = ""


def printed(cells: pd.DataFrame, heads: tuple[str, ...], caption: str, base: str,
            link: Callable[[str, str], str], beside: bool = True) -> Grid:  # fmt: skip
    """The grid of a table (burn.report.tables.fill) whose leading cells are called `heads`.

    With `beside`, a published column follows each column that has such figures; every number leads
    to `link(protocol, method)`.
    """
    columns = list(cells[cells.row == 0].itertuples())
    published = set(cells.column[cells.published != ""]) if beside else set()
    grouped = any(column.group for column in columns)
    depth = 3 if grouped else 2 if published else 1
    top = [Head(head, "name", (*[""] * (depth - 1), head)) for head in heads]
    for column in columns:
        above, own = (column.label,), "ours"
        if grouped:
            above, own = (column.group, column.name + "∗" * column.stand_in), column.headline
        top.append(Head(column.label, "number", (*above, own)[:depth]))
        if column.column in published:
            other = column.published_of != column.dataset
            of = column.published_of if other else "real set" * column.stand_in
            text = f"published ({of})" if of else "published"
            top.append(Head(text, "published", (*above, "published")))
    lines = []
    for _, row in cells.groupby("row"):
        line = [Cell(name) for name in row.names.iloc[0]]
        for cell in row.itertuples():
            line.append(_number(cell, link) if cell.n else Cell(MISSING))
            if cell.column in published:
                line.append(Cell(cell.published, "published", title=cell.published_source))
        lines.append(line)
    return Grid(top, lines, caption, base)


def _number(cell, link: Callable[[str, str], str]) -> Cell:
    after = "†" if cell.collapsed else ""
    if cell.n > 1 or not pd.isna(cell.within_std):
        after = f" ± {cell.spread:.{DIGITS}f}{after}"
    return Cell(f"{cell.mean:.{DIGITS}f}", cell.mark, after, link(cell.protocol, cell.method))


def to_markdown(grid: Grid) -> str:
    """A pipe table."""
    rule = [":--" if head.kind == "name" else "--:" for head in grid.heads]
    body = [[MARKDOWN[c.mark].format(plain(c.text)) + c.after for c in line] for line in grid.lines]
    lines = [[head.text for head in grid.heads], rule, *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def plain(text: str) -> str:
    """`text` as Markdown prints it; an underscore within a word, and brackets without an address, mean
    nothing there."""
    text = re.sub(r"[\\`*$<>&|~]|\](?=[(\[:])|(?<!\w)_|_(?!\w)", lambda m: "\\" + m[0], text)
    return text.replace("\n", " ")


def to_latex(grid: Grid) -> str:
    r"""A `table` to \input. The document needs PACKAGES.

    Headings that are equal neighbours become one, over a rule, but in the last line.
    """
    left, wide = sum(head.kind == "name" for head in grid.heads), len(grid.heads) > WIDE
    table, caption = "table*" if wide else "table", grid.caption
    levels = list(zip(*(head.levels or (head.text,) for head in grid.heads), strict=True))
    if any("∗" in text for level in levels for text in level):
        caption += " * A stand-in."
    body = [
        [LATEX[c.mark].format(escape(c.text)) + escape(c.after) if c.text else "" for c in line]
        for line in grid.lines
    ]
    return "\n".join(
        [
            rf"% needs \usepackage{{{','.join(PACKAGES)}}}",
            rf"\begin{{{table}}}",
            r"  \centering",
            rf"  \caption{{{escape(caption)}}}",
            rf"  \label{{tab:{grid.base}}}",
            *([r"  \resizebox{\textwidth}{!}{%"] if wide else []),
            rf"  \begin{{tabular}}{{{'l' * left + 'r' * (len(grid.heads) - left)}}}",
            r"    \toprule",
            *(line for n in range(1, len(levels)) for line in _spans(levels[:n], left)),
            _line(map(escape, levels[-1])),
            r"    \midrule",
            *map(_line, body),
            r"    \bottomrule",
            r"  \end{tabular}" + "}" * wide,
            rf"\end{{{table}}}",
            "",
        ]
    )


def _spans(levels: list[tuple[str, ...]], left: int) -> list[str]:
    """The last of `levels` over spans of columns, and the rules under them; a span ends where one
    above it ends."""
    cells, rules, at = [""] * left, "    ", left
    for key, columns in groupby(list(zip(*levels, strict=True))[left:]):
        width = len(list(columns))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(key[-1])}}}")
        rules += rf"\cmidrule(lr){{{at + 1}-{at + width}}}"
        at += width
    return [_line(cells), rules]


def _line(cells) -> str:
    return "    " + " & ".join(cells) + r" \\"


def escape(text: str) -> str:
    """`text` as LaTeX prints it."""
    return re.sub("[" + re.escape("".join(SPECIAL)) + "]", lambda m: SPECIAL[m[0]], text)
