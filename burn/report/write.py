"""What the report says: which tables and figures there are, their captions, and the page."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from burn.artifacts import artifact
from burn.params import STAGES, ParamsError
from burn.report.collect import TEACHER, collect, is_random, methods, sources
from burn.report.figures import bars
from burn.report.tables import DIGITS, Column, Row, Table, table, to_csv, to_latex, to_markdown

MAIN = "linear"  # the task of the main table; the only one with a table per stage
HEADLINES = ("top1", "map", "ap", "miou")  # the score a task is known by: the first it has
NAMES = {
    "linear": "Linear evaluation",
    "top1": "Top-1",
    "map": "mean average precision",
    "ap": "average precision",
    "miou": "mean IoU",
}


def write(view: dict[str, Any], results: Path, out: Path) -> None:
    """See burn.report.report."""
    tasks = list(dict.fromkeys(protocol.task for protocol in view["protocols"].values()))
    if MAIN not in tasks:
        raise ParamsError(f"protocols: found no task {MAIN}; expected one, for the main table")
    frame = collect(view, results)
    inputs = [path for *_, path in sources(view, results)]
    with artifact(out, "report", view, inputs) as work:
        for folder in ("tables", "figures"):
            work.path(folder).mkdir(exist_ok=True)
        page = [f"# {' '.join(view['report'].title.split())}", what_was_run(view, frame)]
        for task in tasks:
            page += task_part(view, frame[frame.task == task], task, work.dir)
        page += stages_part(view, frame[frame.task == MAIN], work.dir)
        page += ["## Collapsed runs", collapsed_runs(frame)]
        work.path("report.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")
        work.metrics = means(view, frame)


def task_part(view: dict[str, Any], frame: pd.DataFrame, task: str, out: Path) -> list[str]:
    """Table and figure of one task, of each method's last stage; what the page says of them."""
    metrics = scores(frame)
    rows = final_rows(view, frame)
    shown = table(frame, rows, columns(frame, metrics[:1]))
    full = table(frame, rows, columns(frame, metrics))
    name, metric = _name(task), _name(metrics[0])
    caption = " ".join(
        [f"{name}: {metric} (%).", *_reading(view, frame, shown), *_budget(view, frame)]
    )
    save(out / "tables" / task, full, shown, ("method",), caption, beside=True)
    plain = {row.method for row in rows if row.method == TEACHER or is_random(view, row.method)}
    bars(shown, f"{name.split()[0]} {metric} (%)", out / "figures" / task, plain)
    return [
        f"## {name}",
        to_markdown(shown, ("method",)).rstrip(),
        f"*{caption}*",
        f"![{name}: {metric} of each method on each data set](figures/{task}.png)",
        _figure_key(shown),
    ]


def stages_part(view: dict[str, Any], frame: pd.DataFrame, out: Path) -> list[str]:
    """The table of the main task after each stage of each method; what the page says of it."""
    rows, heads = stage_rows(view, frame), ("method", "stage", "epochs")
    lines = table(frame, rows, columns(frame, scores(frame)[:1]))
    metric = _name(scores(frame)[0])
    ranking = "Best in bold, second underlined, among the networks after their binary stage."
    caption = " ".join(
        [
            f"{_name(MAIN)} after each stage of training: {metric} (%).",
            *_reading(view, frame, lines, ranking, beside=False),
            *_budget(view, frame, per_stage=False),
        ]
    )
    save(out / "tables" / "stages", lines, lines, heads, caption, beside=False)
    return ["## After each stage", to_markdown(lines, heads, beside=False).rstrip(), f"*{caption}*"]


def save(
    base: Path, full: Table, shown: Table, heads: tuple[str, ...], caption: str, beside: bool
) -> None:
    """Write base.csv with every metric, base.md and base.tex with the shown ones."""
    texts = {
        ".csv": to_csv(full),
        ".md": to_markdown(shown, heads, beside) + f"\n*{caption}*\n",
        ".tex": to_latex(shown, heads, caption, base.name, beside),
    }
    for suffix, content in texts.items():
        base.with_suffix(suffix).write_text(content, encoding="utf-8")


def scores(frame: pd.DataFrame) -> list[str]:
    """The scores of a task, the one it is known by first, then those of its kind: top1, top5."""
    found = frame.metric[frame.kind == "score"].unique()
    first = next((name for name in HEADLINES if name in found), min(found))

    def split(name: str) -> tuple[str, int]:
        stem, digits = re.fullmatch(r"(.*?)(\d*)", name).groups()
        return stem, int(digits or 0)

    return sorted(found, key=lambda m: (m != first, split(m)[0] != split(first)[0], split(m), m))


def columns(frame: pd.DataFrame, metrics: list[str]) -> list[Column]:
    """A column per protocol (in the order of params.yaml) and metric; stand-ins are marked."""
    sets = frame.drop_duplicates("protocol")
    out = []
    for entry in sets.itertuples():
        twice = (sets.dataset == entry.dataset).sum() > 1
        label = entry.protocol if twice else entry.dataset
        label += " (stand-in)" if entry.stand_in else ""
        out += [Column(label, entry.protocol, metric) for metric in metrics]
    return out


def final_rows(view: dict[str, Any], frame: pd.DataFrame) -> list[Row]:
    """A row per method, after its last stage; only fully binary, trained networks are ranked."""
    last = frame[frame["last"]].drop_duplicates("method").set_index("method").stage
    rows = []
    for method in methods(view):
        stage = last[method]
        label = {TEACHER: f"{method} (FP)", "binary": method}.get(stage, f"{method} ({stage})")
        ranked = stage == "binary" and not is_random(view, method)
        rows.append(Row(method, stage, (label,), ranked))
    return rows


def stage_rows(view: dict[str, Any], frame: pd.DataFrame) -> list[Row]:
    """A row per method and stage it was trained in; the teacher has no stages."""
    seen = frame.drop_duplicates(["method", "stage"]).set_index(["method", "stage"])
    rows = []
    for method in methods(view):
        for stage in (s for s in STAGES if (method, s) in seen.index):
            entry = seen.loc[(method, stage)]
            epochs = "" if pd.isna(entry.epochs) else str(int(entry.epochs))
            ranked = stage == "binary" and not is_random(view, method)
            rows.append(Row(method, stage, (method, stage, epochs), ranked, bool(entry["last"])))
    return rows


def _name(key: str) -> str:
    return NAMES.get(key, key.replace("_", " ").capitalize())


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _reading(
    view: dict[str, Any],
    frame: pd.DataFrame,
    lines: Table,
    ranking: str = "Best in bold, second underlined, among the trained binary networks.",
    beside: bool = True,
) -> list[str]:
    """Sentences a reader needs to read the cells of a table."""
    cells = [cell for _, row in lines for cell in row]
    seeds = [str(seed) for seed in view["seeds"]]
    if len(seeds) > 1:
        out = [f"Mean ± standard deviation over {len(seeds)} seeds ({', '.join(seeds)})."]
    else:
        out = [f"One seed ({seeds[0]}), so no spread is known."]
    if any(cell.n < len(seeds) for cell in cells):
        out.append("Some seeds have no number: the rest are averaged, and the CSV counts them.")
    out.append(ranking)
    drawn = list(frame.dataset[frame.stand_in].unique())
    if drawn:
        is_are = "is a stand-in" if len(drawn) == 1 else "are stand-ins"
        out.append(f"{_listed(drawn)} {is_are}: drawn images, not the real data.")
    found = sorted({cell.source for cell in cells if cell.published}) if beside else []
    if found:
        out.append(f"Published figures are those of {_listed(found)}, at the full budget.")
    if any(cell.published and cell.stand_in for cell in cells) and beside:
        out.append("Beside a stand-in they are for the real set and not comparable.")
    if any(cell.collapsed for cell in cells):
        out.append("† collapsed in at least one seed: outputs hardly depend on the image.")
    return out


def _budget(view: dict[str, Any], frame: pd.DataFrame, per_stage: bool = True) -> list[str]:
    """Sentences that say how much each network was trained, and on what the task ran."""
    sets = []
    for entry in frame.drop_duplicates("protocol").itertuples():
        counts = f"{entry.train_images} training and {entry.test_images} test images"
        sets.append(f"{entry.dataset}, {counts} of {entry.classes} classes")
    out = [f"Evaluated on {'; '.join(sets)}."]
    trained = frame[(frame.epochs > 0) & (frame.pretrain_images > 0)]
    images = [str(int(n)) for n in sorted(trained.pretrain_images.unique())]
    if images:
        out.append(f"Pretrained on {_listed(images)} images.")
    told = epochs(view, frame) if per_stage else []
    if told:
        out.append(f"Epochs per stage ({'/'.join(STAGES)}): {'; '.join(told)}.")
    return out


def _figure_key(lines: Table) -> str:
    """What the marks of a figure mean, for those that are in it."""
    cells = [cell for _, row in lines for cell in row]
    key = {
        "error bars: one standard deviation": any(cell.n > 1 for cell in cells),
        "diamonds: published": any(cell.published and not cell.stand_in for cell in cells),
        "dotted: chance": any(cell.column.metric == "top1" for cell in cells),
        "†: collapsed in at least one seed": any(cell.collapsed for cell in cells),
    }
    said = "; ".join(words for words, there in key.items() if there)
    return f"*The table as bars{' (' + said + ')' if said else ''}.*"


def epochs(view: dict[str, Any], frame: pd.DataFrame) -> list[str]:
    """ "method 3/3/4" for each method as it was trained, "teacher 30" for the teacher."""
    seen = frame.drop_duplicates(["method", "stage"]).set_index(["method", "stage"]).epochs
    out = []
    for method in methods(view):
        stages = (TEACHER,) if method == TEACHER else STAGES
        counts = [seen.get((method, stage), 0) for stage in stages]
        if not any(pd.isna(count) for count in counts):
            out.append(f"{method} {'/'.join(str(int(count)) for count in counts)}")
    return out


def what_was_run(view: dict[str, Any], frame: pd.DataFrame) -> str:
    """The page's first paragraph."""
    drawn = frame.dataset[frame.stand_in].unique()
    sets = [f"{d} (stand-in)" if d in drawn else d for d in frame.dataset.unique()]
    names = [method for method in methods(view) if method != TEACHER]
    plural = "seeds" if len(view["seeds"]) > 1 else "seed"
    text = (
        f"One binary network, made by each of {len(names)} methods ({', '.join(names)}) with "
        f"{len(view['seeds'])} {plural}, is examined beside the floating-point teacher on "
        f"{_listed(sets)}. All scores are in percent."
    )
    if len(drawn):
        text += (
            " Stand-ins are images drawn by a program: they show that the pipeline runs, "
            "and say nothing about the published results."
        )
    return text


def collapsed_runs(frame: pd.DataFrame) -> str:
    """A list item per collapsed run, with the measures its evaluation handed on, if any."""
    bad = frame[frame.collapsed].drop_duplicates(["method", "seed", "stage", "metric"])
    items = []
    for (method, seed, stage), rows in bad.groupby(["method", "seed", "stage"], sort=False):
        measures = rows[rows.kind == "measure"].sort_values("metric")
        told = [f"{m} {v:.4g}" for m, v in zip(measures.metric, measures.value, strict=True)]
        items.append(f"- {method}, seed {seed}, stage {stage}" + _after(told))
    return "\n".join(items) or "None."


def _after(told: list[str]) -> str:
    return f": {', '.join(told)}" if told else ""


def means(view: dict[str, Any], frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """method -> protocol -> mean over seeds of the task's first score, in percent."""
    out: dict[str, dict[str, float]] = {method: {} for method in methods(view)}
    for protocol, part in frame[frame["last"]].groupby("protocol"):
        first = part[part.metric == scores(frame[frame.task == part.task.iloc[0]])[0]]
        for method, values in first.groupby("method").value:
            out[method][protocol] = round(float(values.mean()), DIGITS + 2)
    return out
