"""What a reader needs beside the numbers: sentences for captions, made from what was found."""

import math
from typing import Any

import pandas as pd

from burn.experiment.schema import STAGES
from burn.report.collect import TEACHER, methods
from burn.report.rows import totals
from burn.report.tables import Table

NAMES = {
    "linear": "Linear evaluation",
    "semi": "Semi-supervised fine-tuning",
    "fewshot": "Few-shot classification",
    "detection": "Detection",
    "segmentation": "Segmentation",
    "top1": "Top-1",
    "map": "mean average precision",
    "ap": "average precision",
    "miou": "mean IoU",
}
IMAGENET, EPOCHS = (
    1_281_167,
    200,
)  # what the published students saw: images, and epochs of each stage
RANKING = "Best in bold, second underlined, among the trained binary networks."


def name(key: str) -> str:
    """What a task or metric is called in print."""
    return NAMES.get(key, key.replace("_", " ").capitalize())


def measured(lines: Table) -> str:
    """The scores of a table's columns: "Top-1", or all of them if there are several."""
    found = dict.fromkeys(name(cell.column.metric) for cell in lines[0][1])
    return " or ".join(found)


def listed(words: list[str]) -> str:
    """ "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def reading(
    settings: dict[str, Any],
    frame: pd.DataFrame,
    lines: Table,
    ranking: str = RANKING,
    beside: bool = True,
) -> list[str]:
    """Sentences a reader needs to read the cells of a table."""
    cells = [cell for _, row in lines for cell in row]
    seeds = [str(seed) for seed in settings["seeds"]]
    if len(seeds) > 1:
        out = [f"Mean ± standard deviation over {len(seeds)} seeds ({', '.join(seeds)})."]
    else:
        out = [f"One seed ({seeds[0]}), so no spread is known."]
        if any(not math.isnan(cell.within) for cell in cells):
            out = [
                f"One seed ({seeds[0]}); ± is the standard deviation over its drawings of images."
            ]
    if any(cell.n < len(seeds) for cell in cells):
        out.append("Some seeds have no number: the rest are averaged, and the CSV counts them.")
    out.append(ranking)
    drawn = list(frame.dataset[frame.stand_in].unique())
    if drawn:
        is_are = "is a stand-in" if len(drawn) == 1 else "are stand-ins"
        out.append(f"{listed(drawn)} {is_are}: drawn images, not the real data.")
    found = sorted({cell.source for cell in cells if cell.published}) if beside else []
    if found:
        out.append(f"Published figures are those of {listed(found)}, at the full budget.")
    if any(cell.published and cell.stand_in for cell in cells) and beside:
        out.append("Beside a stand-in they are for the real set and not comparable.")
    if any(cell.collapsed for cell in cells):
        out.append("† collapsed in at least one seed: outputs hardly depend on the image.")
    return out


def budget(
    settings: dict[str, Any], frame: pd.DataFrame, rows: list[str], per_stage: bool = True
) -> list[str]:
    """Sentences that say how much each of `rows` was trained, and on what the task ran."""
    sets, own = {}, []
    for found in frame.drop_duplicates("protocol").itertuples():
        counts = f"{found.train_images} training and {found.test_images} test images"
        sets[f"{found.dataset}, {counts} of {found.classes} classes"] = None
        options = settings["protocols"][found.protocol].options
        if options:
            own.append(f"{found.protocol} {', '.join(f'{k} {v}' for k, v in options.items())}")
    out = [f"Evaluated on {'; '.join(sets)}."]
    if own:
        out.append(f"Settings of their own: {'; '.join(own)}.")
    trained = frame[(frame.epochs > 0) & (frame.pretrain_images > 0)]
    images = [str(int(n)) for n in sorted(trained.pretrain_images.unique())]
    if images:
        where = settings["pretrain_on"]
        where += ", a stand-in," if trained.pretrain_stand_in.any() else ""
        out.append(f"Pretrained on {listed(images)} images of {where}{steps(trained)}.")
    if reduced(trained):
        out.append(
            f"Reduced budget: the published networks saw {IMAGENET} images of ImageNet, "
            f"{EPOCHS} epochs in each stage."
        )
    told = epochs(frame, rows) if per_stage else []
    if told:
        out.append(f"Epochs per stage ({'/'.join(STAGES)}): {'; '.join(told)}.")
    return out


def reduced(frame: pd.DataFrame) -> bool:
    """Whether any student of the frame saw fewer images, or fewer epochs, than the published ones."""
    students = frame[(frame.epochs > 0) & (frame.pretrain_images > 0) & (frame.method != TEACHER)]
    return bool(((students.epochs < EPOCHS) | (students.pretrain_images < IMAGENET)).any())


def steps(trained: pd.DataFrame) -> str:
    """ " in 186 to 744 optimiser steps (the teacher in 3100)", as far as it is known."""
    spent = totals(trained).updates.dropna().astype(int)
    students = spent.drop(TEACHER, errors="ignore")
    if students.empty:
        return ""
    low, high = students.min(), students.max()
    said = f" in {low} optimiser steps" if low == high else f" in {low} to {high} optimiser steps"
    return said + (f" (the teacher in {spent[TEACHER]})" if TEACHER in spent else "")


def epochs(frame: pd.DataFrame, rows: list[str]) -> list[str]:
    """ "method 3/3/4" for each method as it was trained, "teacher 30" for the teacher."""
    seen = frame.drop_duplicates(["method", "stage"]).set_index(["method", "stage"]).epochs
    out = []
    for method in rows:
        stages = (TEACHER,) if method == TEACHER else STAGES
        counts = [seen.get((method, stage), 0) for stage in stages]
        if not any(pd.isna(count) for count in counts):
            out.append(f"{method} {'/'.join(str(int(count)) for count in counts)}")
    return out


def figure_key(lines: Table, panel: bool = False) -> str:
    """Caption of a table's bars: the marks in it explained; `panel`: published figures have one."""
    cells = [cell for _, row in lines for cell in row]
    beside = [cell for cell in cells if cell.published]
    key = {
        "error bars: one standard deviation": any(cell.spread for cell in cells),
        "diamonds: published": not panel and any(not cell.stand_in for cell in beside),
        "white: published": panel and bool(beside),
        "dotted: chance": any(cell.column.metric == "top1" for cell in cells),
        "†: collapsed in at least one seed": any(cell.collapsed for cell in cells),
    }
    said = "; ".join(words for words, there in key.items() if there)
    text = f"The table as bars{' (' + said + ')' if said else ''}."
    return text + (" Stand-ins are drawn images." if any(cell.stand_in for cell in cells) else "")


def what_was_run(settings: dict[str, Any], frame: pd.DataFrame) -> str:
    """The page's first paragraph."""
    drawn = frame.dataset[frame.stand_in].unique()
    sets = [f"{d} (stand-in)" if d in drawn else d for d in frame.dataset.unique()]
    names = [method for method in methods(settings, "main") if method != TEACHER]
    plural = "seeds" if len(settings["seeds"]) > 1 else "seed"
    made = (
        f"made by each of {len(names)} methods ({', '.join(names)})"
        if names
        else "made in variants"
    )
    text = (
        f"One binary network, {made} with {len(settings['seeds'])} {plural}, is examined beside the floating-point teacher on "
        f"{listed(sets)}. All scores are in percent."
    )
    variants = len(methods(settings, "ablation"))
    if variants:
        text += f" {variants} more networks are variants of burn: the ablation."
    if len(drawn):
        text += (
            " Stand-ins are images drawn by a program: they show that the pipeline runs, "
            "and say nothing about the published results."
        )
    return text


def collapsed_runs(frame: pd.DataFrame) -> tuple[str, ...]:
    """A list item per collapsed run, with the measures its evaluation handed on, if any."""
    bad = frame[frame.collapsed].drop_duplicates(["method", "seed", "stage", "metric"])
    items = []
    for (method, seed, stage), rows in bad.groupby(["method", "seed", "stage"], sort=False):
        measures = rows[rows.kind == "measure"].sort_values("metric")
        told = [f"{m} {v:.4g}" for m, v in zip(measures.metric, measures.value, strict=True)]
        items.append(f"{method}, seed {seed}, stage {stage}" + _after(told))
    return tuple(items)


def _after(told: list[str]) -> str:
    return f": {', '.join(told)}" if told else ""
