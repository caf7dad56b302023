"""Tables in LaTeX: environments to \\input into a paper."""

import re

from burn.report.tables import Table, has_published, show

PACKAGES = ("booktabs", "graphicx", "xcolor")
WIDE = 5  # columns; a table of more goes across both, shrunk to the width of the text

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


GREY = r"\textcolor{{gray}}{{{}}}"


def to_latex(
    lines: Table, heads: tuple[str, ...], caption: str, label: str, beside: bool = True
) -> str:
    r"""A `table` to \input. Headings: the group of columns, their name, what is in them.

    The document needs PACKAGES.
    """
    levels: list[list[str]] = [[""] * len(heads), [""] * len(heads), [escape(h) for h in heads]]
    grouped = any(cell.column.group for cell in lines[0][1])
    shown = [beside and has_published(lines, j) for j in range(len(lines[0][1]))]
    for cell, with_published in zip(lines[0][1], shown, strict=True):
        column = cell.column
        name = escape(column.name or column.label) + (r"$^\ast$" * (grouped and cell.stand_in))
        for own in [column.headline if grouped else "ours", "published"][: 1 + with_published]:
            for level, text in zip(levels, (escape(column.group), name, own), strict=True):
                level.append(text)
    if not grouped:
        del levels[0]
        if not any(shown):  # nothing to tell apart: one line of headings is enough
            levels = [[*levels[1][: len(heads)], *levels[0][len(heads) :]]]
    elif any(cell.stand_in for cell in lines[0][1]):
        caption += " * A stand-in."
    body = []
    for row, cells in lines:
        line = [escape(key) for key in row.keys]
        for cell, with_published in zip(cells, shown, strict=True):
            grey = GREY.format(cell.published) if cell.published else ""
            line += [show(cell, LATEX), grey][: 1 + with_published]
        body.append(line)
    return latex_table(levels, body, len(heads), caption, label)


def latex_table(
    levels: list[list[str]], body: list[list[str]], left: int, caption: str, label: str
) -> str:
    """The environment around lines of LaTeX cells, the first `left` of each to the left.

    levels: lines of headings; equal neighbours become one, over a rule, but in the last.
    """
    columns = len(levels[-1])
    wide = columns > WIDE
    table = "table*" if wide else "table"
    top = [line for above in range(len(levels) - 1) for line in _merged(levels, above, left)]
    return "\n".join(
        [
            rf"% needs \usepackage{{{','.join(PACKAGES)}}}",
            rf"\begin{{{table}}}",
            r"  \centering",
            rf"  \caption{{{escape(caption)}}}",
            rf"  \label{{tab:{label}}}",
            *([r"  \resizebox{\textwidth}{!}{%"] if wide else []),
            rf"  \begin{{tabular}}{{{'l' * left + 'r' * (columns - left)}}}",
            r"    \toprule",
            *top,
            _line(levels[-1]),
            r"    \midrule",
            *map(_line, body),
            r"    \bottomrule",
            r"  \end{tabular}" + "}" * wide,
            rf"\end{{{table}}}",
            "",
        ]
    )


def _merged(levels: list[list[str]], above: int, left: int) -> list[str]:
    """A line of headings over spans of columns, and the rules under them."""
    cells, rules, at = [""] * left, [], left
    keys = list(zip(*levels[: above + 1], strict=True))  # a span ends where one above it ends
    while at < len(keys):
        width = next((n for n in range(1, len(keys) - at) if keys[at + n] != keys[at]), None)
        width = width or len(keys) - at
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{keys[at][-1]}}}")
        rules.append(rf"\cmidrule(lr){{{at + 1}-{at + width}}}")
        at += width
    return [_line(cells), "    " + "".join(rules)]


def _line(cells: list[str]) -> str:
    return "    " + " & ".join(cells) + r" \\"
