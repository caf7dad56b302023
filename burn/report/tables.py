"""Tables as frames of numbers: which rows and columns one has, and what is in its cells.

A table is a frame with a line per cell, row by row: a row's `method`, `stage` and `names` (its leading
cells), a column's `label`, `protocol` and `metric`, and what was measured there.
"""

import re
from functools import cache
from itertools import compress
from pathlib import Path
from typing import Any

import pandas as pd

from burn.report.collect import TEACHER, entry, is_random

DIGITS = 2  # decimals shown, as the published figures have; the CSV has them all
# What the score a task is known by is called in headings.
HEADLINES = {"top1": "Top-1", "map": "mAP", "ap": "AP", "miou": "mIoU"}
SHOTS = re.compile(r".*_k(\d+)")  # a score from so many labels of each class
ABLATION = ("variant", "epochs", "steps", "images seen")  # the leading cells of its rows
CSV = ("method", "stage", "label", "epochs_per_stage", "steps", "images_seen", "epochs", "protocol",
       "dataset", "stand_in", "metric", "mean", "std", "n", "within_std", "published",
       "published_source", "collapsed")  # fmt: skip
CELL = ["protocol", "method", "stage", "metric"]  # what tells one cell from another
ENTRY = ["method", "dataset", "task", "metric"]  # and one published figure


@cache
def published() -> pd.DataFrame:
    """(method, data set, task, metric) -> `published`, as printed, and `published_source`.

    Where two sources print one figure the first line of published.csv holds: the paper's table.
    """
    names = {"value": "published", "source": "published_source"}
    known = pd.read_csv(Path(__file__).parent / "published.csv", dtype=str, keep_default_na=False)
    known = known.drop_duplicates(ENTRY).rename(columns=names)
    return known.set_index(ENTRY)[list(names.values())]


# -- rows and columns: those params.yaml asks for, in its order ------------------------------------


def scores(frame: pd.DataFrame) -> list[str]:
    """The scores of a protocol, the one it is known by first."""
    return [metric for metric in frame.metric.unique() if metric]


def columns(frame: pd.DataFrame, every: bool = False, grouped: bool = False) -> pd.DataFrame:
    """A column per protocol: the score it is known by, or `every` one.

    Stand-ins are marked, and headlines that are not those of the task's first protocol are named;
    all are, and the tasks, if `grouped`.
    """
    lines = []
    for task, of_task in frame.groupby("task", sort=False):
        protocols, first = of_task.drop_duplicates("protocol"), scores(of_task)[0]
        for facts in protocols.itertuples():
            alone = (protocols.dataset == facts.dataset).sum() == 1
            name = facts.dataset if alone else facts.protocol
            metrics = scores(frame[frame.protocol == facts.protocol])
            headline = HEADLINES.get(metrics[0], metrics[0])
            label = f"{task}: {name}" if grouped else name
            label += " (stand-in)" if facts.stand_in else ""
            label += f", {headline}" if grouped or metrics[0] != first else ""
            about = {
                k: getattr(facts, k) for k in ("protocol", "task", "dataset", "stand_in", "classes")
            }
            about |= {"label": label, "group": task * grouped, "name": name, "headline": headline}
            lines += [about | {"metric": m} for m in (metrics if every else metrics[:1])]
    return pd.DataFrame(lines)


def rows(settings: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    """A row per method and stage of `frame`; only fully binary, trained networks are `ranked`, only
    the `final` one is a method's result, which the published figure of `entry` may stand beside."""
    trained = frame.drop_duplicates(["method", "stage"])[["method", "stage", "last", "epochs"]]
    trained = trained.rename(columns={"last": "final"}).astype({"epochs": "Int64"})
    learned = ~trained.method.map(lambda method: is_random(settings, method))
    return trained.assign(entry=trained.method, ranked=learned & (trained.stage == "binary"))


def final_rows(settings: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    """A row per method, after its last stage."""
    final = rows(settings, frame).query("final")
    told = final.stage.replace({TEACHER: "FP", "binary": ""}).map(lambda s: f" ({s})" if s else "")
    return final.assign(names=[(label,) for label in final.method + told])


def stage_rows(settings: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    """A row per method and stage it was trained in; the teacher has no stages."""
    trained = rows(settings, frame[frame.method != TEACHER])
    names = zip(trained.method, trained.stage, trained.epochs.map(whole))
    return trained.assign(names=list(names))


def ablation_rows(settings: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    """A row per variant: its label, epochs per stage, and what all its stages took together.

    A label that goes on where the one above ends is cut to what it adds, as in figure 1d.
    """
    final, spent, lines = rows(settings, frame).query("final"), totals(frame), [{"entry": None}]
    for method in final.method:
        given = entry(settings, method)
        label = given.label or method
        epochs = "/".join(str(count) for _, count in given.epochs)
        steps, images = spent.loc[method].map(whole)
        added = label.removeprefix(f"{lines[-1]['entry']}+")
        shown = added if added == label else f"+ {added}"
        if given.label and " " not in label:  # one of words keeps its names: "burn_same without g"
            shown = shown.replace("_", " ")
        lines.append({"names": (shown, epochs, steps, images), "entry": label, "row_label": label,
                      "epochs_per_stage": epochs, "steps": steps, "images_seen": images})  # fmt: skip
    return final.assign(**pd.DataFrame(lines[1:], index=final.index))


def last_stages(frame: pd.DataFrame) -> pd.Series:
    """method -> the stage that is its result."""
    return frame[frame["last"]].drop_duplicates("method").set_index("method").stage


def totals(frame: pd.DataFrame, keys: tuple[str, ...] = ("updates", "images_seen")) -> pd.DataFrame:
    """`keys` of each method, summed over all its stages, of one seed.

    Not a number where a stage does not say. All seeds of a method train alike.
    """
    stages = frame.drop_duplicates(["method", "stage"])
    return stages.groupby("method")[list(keys)].sum(min_count=1)


def whole(number: float | None) -> str:
    return "" if pd.isna(number) else str(int(number))


# -- cells -----------------------------------------------------------------------------------------


def fill(frame: pd.DataFrame, rows: pd.DataFrame, columns: pd.DataFrame) -> pd.DataFrame:
    """The table of `rows` x `columns` from a tidy frame (burn.report.collect); a hole has n = 0.

    `mean` and `std` (n - 1 in the denominator) over `n` seeds are in percent; `within_std` is the
    spread a task reports of one examination, where it does (few-shot drawings); `spread` is the one
    shown: over seeds, of one seed `within_std`, else 0. `mark` is best, second or nothing.
    """
    rows = rows.assign(row=range(len(rows)))
    columns = columns.assign(column=range(len(columns)))
    numbers = frame.groupby(CELL).agg(
        mean=("value", pd.Series.mean), std=("value", pd.Series.std), n=("value", "count"),
        within_std=("within", "mean"), collapsed=("collapsed", "any"),
    )  # fmt: skip
    cells = rows.merge(columns, how="cross").join(numbers, on=CELL)
    cells = cells.join(published(), on=["entry", *ENTRY[1:]])
    beside = ["published", "published_source"]
    cells[beside] = cells[beside].where(cells.final).fillna("")
    cells["published_of"] = cells.dataset
    cells["n"] = cells.n.fillna(0).astype(int)
    cells["collapsed"] = cells.collapsed.eq(True)
    cells["spread"] = cells["std"].where(cells.n > 1, cells.within_std).fillna(0.0)
    # What prints alike ranks alike.
    shown = cells["mean"].map(f"{{:.{DIGITS}f}}".format).astype(float)
    places = (
        shown.where(cells.ranked & ~cells.collapsed)
        .groupby(cells.column)
        .rank(method="dense", ascending=False)
    )
    cells["mark"] = places.map({1: "best", 2: "second"}).fillna("")
    return cells


def beside_another(cells: pd.DataFrame, dataset: str, of: str) -> pd.DataFrame:
    """`cells` with the figures published of the set `of` beside `dataset`, if none has any yet."""
    if (cells.published != "").any():
        return cells
    known, cells = published(), cells.copy()
    cells.loc[cells.dataset == dataset, "published_of"] = of
    keys = list(zip(cells.entry, cells.published_of, cells.task, cells.metric, strict=True))
    here = [key in known.index for key in keys]
    cells.loc[here, list(known.columns)] = known.loc[[*compress(keys, here)]].to_numpy()
    return cells


def shots(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of each protocol of a task after another, a column per k; empty if no score has a k."""
    ks = {m: int(k[1]) for m in scores(frame) if (k := SHOTS.fullmatch(m))}
    tables = []
    for column in columns(frame).itertuples(index=False) if ks else ():
        own = rows.assign(names=[(column.label, *names) for names in rows.names])
        ordered = sorted((k, metric) for metric, k in ks.items())
        chosen = [column._asdict() | {"metric": m, "label": f"k = {k}"} for k, m in ordered]
        filled = fill(frame, own, pd.DataFrame(chosen))
        tables.append(filled.assign(row=filled.row + len(rows) * len(tables)))
    return pd.concat(tables) if tables else pd.DataFrame()


def to_csv(cells: pd.DataFrame) -> str:
    """One line per method, stage, protocol and metric, numbers unrounded, holes empty."""
    named = cells.drop(columns="label").rename(columns={"row_label": "label"})
    return named[[key for key in CSV if key in named]].to_csv(index=False, lineterminator="\n")
