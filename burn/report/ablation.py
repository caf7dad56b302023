"""The ablation: variants of burn on the main task, and what each change of it adds."""

from typing import Any

import pandas as pd

from burn.report import difference, figures, tables
from burn.report.captions import RANKING, figure_key, measured, name
from burn.report.page import Picture, Section
from burn.report.tables import ablation_rows, beside_another, columns, fill

PUBLISHED = "imagenet"  # the set of the published bars
ADDED = "+ "  # how a row begins that is the one above it with something added


def section(report: Any, frame: pd.DataFrame) -> Section | None:
    """Tables and figure of the ablation; `frame` is of the variants on one task, `report` a
    burn.report.sections.Report."""
    if frame.empty:
        return None
    rows = ablation_rows(report.settings, frame)
    cells, full = (fill(frame, rows, columns(frame, every)) for every in (False, True))
    cells = beside_another(cells, report.settings["pretrain_on"], PUBLISHED)
    metric, ranking = measured(cells), RANKING.replace("trained binary networks", "variants")
    said = (
        f"Ablation of burn, {name(frame.task.iloc[0]).lower()}: {metric} (%). Epochs are those of the "
        "stages real/binact/binary, steps and images those of all stages together. A variant that "
        "starts with + is the one above it with that added."
    )
    grid = report.save(
        "ablation", said, frame, cells, full, tables.ABLATION, ranking=ranking, epochs=False
    )
    figures.ladder(cells, f"{metric} (%)", report.figure("ablation"))
    alt = f"Ablation: {metric} of each variant, beside the published one"
    blocks = [grid, Picture("ablation", alt, figure_key(cells, panel=True))]
    return Section("Ablation", [*blocks, *changes(report, frame, rows)])


def changes(report: Any, frame: pd.DataFrame, rows: pd.DataFrame) -> list:
    """The table of what each change adds, if there are variants to compare."""
    base = bases(rows)
    lines = difference.paired(
        report.settings, frame, report.results,
        lambda values: [pair for pair in base.items() if {*pair} <= {*values}],
    )  # fmt: skip
    if lines.empty:
        return []
    csv = lines.rename(columns={"rival": "base"}).to_csv(index=False, lineterminator="\n")
    shown = {row.method: row.names[0] for row in rows.itertuples()}
    lines = lines.assign(method=lines.method.map(shown), rival=lines.rival.map(shown))
    said = (
        "What each change of the ablation adds (points): a variant that starts with + against the one "
        "above it, any other against the last before it that starts with +."
    )
    labels = columns(frame).set_index("protocol").label
    heads = ("variant", "against", "column")
    return [report.write(difference.printed(lines, labels, heads, said, "ablation_steps"), csv)]


def bases(rows: pd.DataFrame) -> dict[str, str]:
    """variant -> the variant it is compared with; `rows` as of burn.report.tables.ablation_rows.

    One that is printed with a + is compared with the row above it, any other with the last row before
    it that has a +. Only fully binary networks are compared.
    """
    base, above, last = {}, None, None
    for row in rows[rows.stage == difference.STAGE].itertuples():
        added = row.names[0].startswith(ADDED)
        against = above if added else last
        if against:
            base[row.method] = against
        above, last = row.method, row.method if added else last
    return base
