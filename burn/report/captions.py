"""What a reader needs beside the numbers: sentences for captions, made from what was measured."""

from typing import Any

import pandas as pd

from burn.experiment.schema import STAGES
from burn.report.collect import TEACHER, methods
from burn.report.tables import totals

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
# What the published students saw: images, and epochs of each stage.
IMAGENET, EPOCHS = 1_281_167, 200
FEW = 10  # labelled images of a class
RANKING = "Best in bold, second underlined, among the trained binary networks."


def name(key: str) -> str:
    """What a task or metric is called in print."""
    return NAMES.get(key, key.replace("_", " ").capitalize())


def measured(cells: pd.DataFrame) -> str:
    """The scores of a table's columns: "Top-1", or all of them if there are several."""
    return " or ".join(dict.fromkeys(map(name, cells.metric)))


def listed(words: list[str]) -> str:
    """ "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def caption(settings: dict[str, Any], said: str, frame: pd.DataFrame, cells: pd.DataFrame,
            ranking: str = RANKING, beside: bool = True, epochs: bool = True) -> str:  # fmt: skip
    """What a table shows, as `said`; how its cells read; on which budget its networks were trained.

    `beside`: published figures stand in it; `epochs`: no cell tells the epochs of a stage.
    """
    counts = epochs_of(frame) if epochs else []
    told = [said, *reading(settings, frame, cells, ranking, beside), *budget(settings, frame)]
    told += [f"Epochs per stage ({'/'.join(STAGES)}): {'; '.join(counts)}."] if counts else []
    return " ".join(told)


def reading(settings: dict[str, Any], frame: pd.DataFrame, cells: pd.DataFrame, ranking: str,
            beside: bool) -> list[str]:  # fmt: skip
    """Sentences a reader needs to read the cells of a table."""
    seeds = [str(seed) for seed in settings["seeds"]]
    if len(seeds) > 1:
        spread = f"Mean ± standard deviation over {len(seeds)} seeds ({', '.join(seeds)})."
    elif cells.within_std.notna().any():
        spread = f"One seed ({seeds[0]}); ± is the standard deviation over its drawings of images."
    else:
        spread = f"One seed ({seeds[0]}), so no spread is known."
    drawn = list(frame.dataset[frame.stand_in].unique())
    are = "is a stand-in" if len(drawn) == 1 else "are stand-ins"
    published = cells[(cells.published != "") & beside]
    origin = listed(sorted(published.published_source.unique()))
    other = published[published.published_of != published.dataset]
    others = listed(sorted(other.published_of.unique()))
    sentences = {
        spread: True,
        "Some seeds have no number: the rest are averaged, and the CSV counts them.":
            (cells.n < len(seeds)).any(),
        ranking: True,
        f"{listed(drawn)} {are}: drawn images, not the real data.": drawn,
        f"Published figures are those of {origin}, at the full budget.": len(published),
        f"They are of {others}: only steps from row to row compare, at another budget.": len(other),
        "Beside a stand-in they are for the real set and not comparable.": published.stand_in.any(),
        f"† collapsed in at least one seed: {told_kinds(frame)}.": cells.collapsed.any(),
    }  # fmt: skip
    return [sentence for sentence, holds in sentences.items() if holds]


def told_kinds(frame: pd.DataFrame) -> str:
    """ "burn (one class for all, dead target); ..." for the collapsed methods of a frame."""
    out: dict[str, dict[str, None]] = {}
    for run in frame[frame.collapsed].itertuples():
        out.setdefault(run.method, {}).update(dict.fromkeys(run.collapse or ("outputs",)))
    return "; ".join(f"{method} ({', '.join(kinds)})" for method, kinds in out.items())


def budget(settings: dict[str, Any], frame: pd.DataFrame) -> list[str]:
    """Sentences that say on how much the networks were trained, and on what the task ran."""
    sets, own = {}, []
    for facts in frame.drop_duplicates("protocol").itertuples():
        counts = f"{facts.train_images} training and {facts.test_images} test images"
        sets[f"{facts.dataset}, {counts} of {facts.classes} classes"] = None
        options = settings["protocols"][facts.protocol].options
        if options:
            own.append(f"{facts.protocol} {', '.join(f'{k} {v}' for k, v in options.items())}")
    out = [f"Evaluated on {'; '.join(sets)}."]
    if own:
        out.append(f"Settings of their own: {'; '.join(own)}.")
    labels = labelled(frame)
    if labels:
        out.append(f"Labelled: {'; '.join(labels)}.")
    trained = frame[(frame.epochs > 0) & (frame.pretrain_images > 0)]
    images = [str(int(n)) for n in sorted(trained.pretrain_images.unique())]
    if images:
        where = settings["pretrain_on"]
        where += ", a stand-in," if trained.pretrain_stand_in.any() else ""
        where += ", unlabelled," if trained.pretrain_unlabelled.any() else ""
        out.append(f"Pretrained on {listed(images)} images of {where}{steps(trained)}.")
    if reduced(trained):
        out.append(
            f"Reduced budget: the published networks saw {IMAGENET} images of ImageNet, "
            f"{EPOCHS} epochs in each stage."
        )
    return out


def labelled(frame: pd.DataFrame) -> list[str]:
    """ "semi-1 40 images, 4 of each class" for the columns that were trained on a part of the labels."""
    out = {}
    for facts in frame.itertuples():
        if (count := facts.labelled) > 0:
            few = ", too few to tell methods apart" if count < FEW * facts.classes else ""
            each = f"{count / facts.classes:.0f} of each class"
            out[facts.protocol] = f"{facts.protocol} {count:.0f} images, {each}{few}"
    return list(out.values())


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


def epochs_of(frame: pd.DataFrame) -> list[str]:
    """ "method 3/3/4" for each method as it was trained, "teacher 30" for the teacher."""
    counts = frame.drop_duplicates(["method", "stage"]).set_index(["method", "stage"]).epochs
    known = counts.groupby("method", sort=False).filter(lambda own: own.notna().all())
    stages = {method: (TEACHER,) if method == TEACHER else STAGES for method, _ in known.index}
    return [
        f"{method} {'/'.join(str(int(known.get((method, stage), 0))) for stage in own)}"
        for method, own in stages.items()
    ]


def figure_key(cells: pd.DataFrame, panel: bool = False) -> str:
    """Caption of a table's bars: the marks in it explained; `panel`: published figures have one."""
    beside = cells[cells.published != ""]
    key = {
        "error bars: one standard deviation": cells.spread.any(),
        "diamonds: published": not panel and not beside.stand_in.all(),
        "white: published": panel and len(beside),
        "dotted: chance": (cells.metric == "top1").any(),
        "†: collapsed in at least one seed": cells.collapsed.any(),
    }
    marks = "; ".join(words for words, there in key.items() if there)
    text = f"The table as bars{' (' + marks + ')' if marks else ''}."
    return text + (" Stand-ins are drawn images." if cells.stand_in.any() else "")


def what_was_run(settings: dict[str, Any], frame: pd.DataFrame) -> str:
    """The page's first paragraph."""
    drawn = frame.dataset[frame.stand_in].unique()
    sets = [f"{d} (stand-in)" if d in drawn else d for d in frame.dataset.unique()]
    names = [method for method in methods(settings, "main") if method != TEACHER]
    of_each = f"by each of {len(names)} methods ({', '.join(names)})" if names else "in variants"
    seeds = f"{len(settings['seeds'])} seed{'s' * (len(settings['seeds']) > 1)}"
    text = (
        f"One binary network, made {of_each} with {seeds}, is examined beside the floating-point "
        f"teacher on {listed(sets)}. All scores are in percent."
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
    items = []
    for run in frame[frame.collapsed].drop_duplicates(["method", "seed", "stage"]).itertuples():
        told = ", ".join(f"{measure} {value:.4g}" for measure, value in run.measures.items())
        said = f"{run.method}, seed {run.seed}, stage {run.stage}"
        items.append(f"{said}: {told}" if told else said)
    return tuple(items)
