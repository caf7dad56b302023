"""Which rows and columns a table has: those params.yaml asks for, in its order."""

import math
import re
from dataclasses import replace
from typing import Any

import pandas as pd

from burn.experiment.schema import STAGES
from burn.report.collect import TEACHER, entry, is_random, methods
from burn.report.tables import HEADLINES, Column, Row, Table, table

SHOTS = re.compile(r"(.*)_k(\d+)")  # a score from so many labels of each class


def scores(frame: pd.DataFrame) -> list[str]:
    """The scores of a protocol, the one it is known by first, then those of its kind: top1, top5."""
    found = frame.metric[frame.kind == "score"].unique()
    first = next((name for name in HEADLINES if name in found), min(found))

    def split(name: str) -> tuple[str, int]:
        stem, digits = re.fullmatch(r"(.*?)(\d*)", name).groups()
        return stem, int(digits or 0)

    return sorted(found, key=lambda m: (m != first, split(m)[0] != split(first)[0], split(m), m))


def columns(frame: pd.DataFrame, every: bool = False) -> list[Column]:
    """A column per protocol of one task (in the order of params.yaml): its headline, or `every` score.

    Stand-ins are marked, and headlines that are not the first protocol's are named.
    """
    sets = frame.drop_duplicates("protocol")
    out = []
    for found in sets.itertuples():
        twice = (sets.dataset == found.dataset).sum() > 1
        label = found.protocol if twice else found.dataset
        label += " (stand-in)" if found.stand_in else ""
        metrics = scores(frame[frame.protocol == found.protocol])
        if out and metrics[0] != out[0].metric:
            label += f", {HEADLINES.get(metrics[0], metrics[0])}"
        out += [Column(label, found.protocol, m) for m in (metrics if every else metrics[:1])]
    return out


def comparison_columns(frame: pd.DataFrame) -> list[Column]:
    """A column per protocol of every task: its headline, named."""
    out = []
    for task in frame.task.unique():
        for column in columns(frame[frame.task == task]):
            name = column.label.removesuffix(f", {column.headline}")
            label = f"{task}: {name}, {column.headline}"
            name = name.removesuffix(" (stand-in)")
            out.append(replace(column, label=label, group=task, name=name))
    return out


def shots_table(frame: pd.DataFrame, rows: list[Row]) -> Table:
    """Lines of each protocol of a task after another, a column per k; empty if no score has a k."""
    found = frame[frame.kind == "score"].metric.map(SHOTS.fullmatch).dropna()
    metrics = sorted({(int(m[2]), m[0]) for m in found})
    out = []
    for column in columns(frame) if metrics else ():
        chosen = [Column(f"k = {k}", column.protocol, metric) for k, metric in metrics]
        own = [replace(row, keys=(column.label, *row.keys)) for row in rows]
        out += table(frame[frame.protocol == column.protocol], own, chosen)
    return out


def final_rows(settings: dict[str, Any], frame: pd.DataFrame) -> list[Row]:
    """A row per method, after its last stage; only fully binary, trained networks are ranked."""
    last = last_stages(frame)
    rows = []
    for method in methods(settings, "main"):
        stage = last[method]
        label = {TEACHER: f"{method} (FP)", "binary": method}.get(stage, f"{method} ({stage})")
        ranked = stage == "binary" and not is_random(settings, method)
        rows.append(Row(method, stage, (label,), ranked))
    return rows


def stage_rows(settings: dict[str, Any], frame: pd.DataFrame) -> list[Row]:
    """A row per method and stage it was trained in; the teacher has no stages."""
    seen = frame.drop_duplicates(["method", "stage"]).set_index(["method", "stage"])
    rows = []
    for method in methods(settings, "main"):
        for stage in (s for s in STAGES if (method, s) in seen.index):
            found = seen.loc[(method, stage)]
            epochs = "" if pd.isna(found.epochs) else str(int(found.epochs))
            ranked = stage == "binary" and not is_random(settings, method)
            rows.append(Row(method, stage, (method, stage, epochs), ranked, bool(found["last"])))
    return rows


ABLATION = ("variant", "epochs", "steps", "images seen")  # the leading cells of its rows


def ablation_rows(settings: dict[str, Any], frame: pd.DataFrame) -> list[Row]:
    """A row per variant: its label, epochs per stage, and what all its stages took together.

    A label that goes on where the one above ends is cut to what it adds, as in figure 1d.
    """
    last, spent = last_stages(frame), totals(frame)
    rows, above = [], None
    for method in methods(settings, "ablation"):
        given = entry(settings, method)
        label = given.label or method
        epochs = "/".join(str(count) for _, count in given.epochs)
        steps, images = (_whole(spent[key].get(method)) for key in ("updates", "images_seen"))
        added = label.removeprefix(f"{above}+")
        shown = added if added == label else f"+ {added}"
        shown = shown.replace("_", " ") if given.label else shown
        facts = {"label": label, "epochs_per_stage": epochs, "steps": steps, "images_seen": images}
        rows.append(
            Row(
                method,
                last[method],
                (shown, epochs, steps, images),
                last[method] == "binary",
                published=label,
                facts=tuple(facts.items()),
            )
        )
        above = label
    return rows


def last_stages(frame: pd.DataFrame) -> pd.Series:
    """method -> the stage that is its result."""
    return frame[frame["last"]].drop_duplicates("method").set_index("method").stage


def totals(frame: pd.DataFrame) -> pd.DataFrame:
    """`updates` and `images_seen` of each method, over all its stages, of one seed.

    Not a number where a stage does not say. All seeds of a method train alike.
    """
    stages = frame.drop_duplicates(["method", "stage"])
    return stages.groupby("method")[["updates", "images_seen"]].sum(min_count=1)


def _whole(number: float | None) -> str:
    return "" if number is None or math.isnan(number) else str(int(number))
