"""What the report says: which tables and figures there are, and the page."""

from pathlib import Path
from typing import Any

import pandas as pd

from burn.artifacts import artifact
from burn.evaluate import PREDICTIONS
from burn.report import cost, difference
from burn.report.captions import (
    RANKING,
    budget,
    collapsed_runs,
    figure_key,
    listed,
    measured,
    name,
    reading,
    what_was_run,
)
from burn.report.collect import TEACHER, collect, is_random, methods, sources
from burn.report.figures import bars, ladder
from burn.report.rows import (
    ABLATION,
    ablation_rows,
    columns,
    comparison_columns,
    final_rows,
    scores,
    shots_table,
    stage_rows,
)
from burn.report.tables import DIGITS, Table, table, to_csv, to_latex, to_markdown

MAIN = "linear"  # the task of the main table; the only one with a table per stage


def write(view: dict[str, Any], results: Path, out: Path) -> None:
    """See burn.report.report."""
    tasks = list(dict.fromkeys(protocol.task for protocol in view["protocols"].values()))
    frame = collect(view, results)
    evaluations = [path for *_, path in sources(view, results)]
    guesses = [path.with_name(PREDICTIONS) for path in evaluations]
    inputs = [*evaluations, *guesses, *cost.sources(view, results)]
    main, ablation = (frame[frame.method.isin(methods(view, t))] for t in ("main", "ablation"))
    with artifact(out, "report", view, inputs) as work:
        for folder in ("tables", "figures"):
            work.path(folder).mkdir(exist_ok=True)
        page = [f"# {' '.join(view['report'].title.split())}", what_was_run(view, frame)]
        if len(tasks) > 1:
            page += comparison_part(view, main, work.dir)
        for task in tasks:
            part = main[main.task == task]
            found = difference.differences(view, part, results) if task == MAIN else []
            page += task_part(view, part, task, work.dir, found)
        page += stages_part(view, main[main.task == MAIN], work.dir)
        if MAIN in ablation.task.values:
            page += ablation_part(view, ablation[ablation.task == MAIN], work.dir)
        page += cost_part(view, main, results, work.dir)
        page += ["## Collapsed runs", collapsed_runs(frame)]
        work.path("report.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")
        work.metrics = means(view, frame)


def comparison_part(view: dict[str, Any], frame: pd.DataFrame, out: Path) -> list[str]:
    """Table and figure of every task: the headline of each method's last stage."""
    lines = table(frame, final_rows(view, frame), comparison_columns(frame))
    tasks = [name(task).lower() for task in frame.task.unique()]
    caption = " ".join(
        [f"The score each task is known by, {listed(tasks)} (%).",
         *reading(view, frame, lines, beside=False),
         *budget(view, frame, methods(view, "main"))]
    )  # fmt: skip
    save(out / "tables" / "comparison", lines, lines, ("method",), caption, beside=False)
    bars(lines, "score (%)", out / "figures" / "comparison", unlearned(view))
    return [
        "## Comparison",
        to_markdown(lines, ("method",), beside=False).rstrip(),
        f"*{caption}*",
        "![The score of each method on each task](figures/comparison.png)",
        figure_key(lines),
    ]


def unlearned(view: dict[str, Any]) -> set[str]:
    """The methods that are there for orientation: the untrained network and the teacher."""
    return {m for m in methods(view, "main") if m == TEACHER or is_random(view, m)}


def task_part(
    view: dict[str, Any],
    frame: pd.DataFrame,
    task: str,
    out: Path,
    found: list[difference.Difference],
) -> list[str]:
    """Table and figure of one task, of each method's last stage; what the page says of them."""
    rows = final_rows(view, frame)
    shown = table(frame, rows, columns(frame))
    full = table(frame, rows, columns(frame, every=True))
    title, metric = name(task), measured(shown)
    caption = " ".join(
        [f"{title}: {metric} (%).", *reading(view, frame, shown),
         *budget(view, frame, methods(view, "main"))]
    )  # fmt: skip
    note = difference.sentence(found, frame) if found else ""
    save(out / "tables" / task, full, shown, ("method",), caption, note=note)
    if found:
        path = out / "tables" / "differences.csv"
        path.write_text(difference.to_csv(found), encoding="utf-8")
    bars(shown, f"{title.split()[0]} {metric} (%)", out / "figures" / task, unlearned(view))
    page = [
        f"## {title}",
        to_markdown(shown, ("method",)).rstrip(),
        f"*{caption}*",
        *([note] if note else []),
        f"![{title}: {metric} of each method on each data set](figures/{task}.png)",
        figure_key(shown),
    ]
    shots = shots_table(frame, rows)
    return page + (shots_part(view, frame, shots, task, out) if shots else [])


def shots_part(
    view: dict[str, Any], frame: pd.DataFrame, lines: Table, task: str, out: Path
) -> list[str]:
    """The table of a task from k images of each class; what the page says of it."""
    heads = ("data set", "method")
    caption = " ".join(
        [f"{name(task)} from k images of each class: {name(scores(frame)[0])} (%). The figure of the "
         "task is the mean over all k. A class with fewer images gives all it has.",
         *reading(view, frame, lines, beside=False)]
    )  # fmt: skip
    save(out / "tables" / f"{task}_k", lines, lines, heads, caption, beside=False)
    return [to_markdown(lines, heads, beside=False).rstrip(), f"*{caption}*"]


def stages_part(view: dict[str, Any], frame: pd.DataFrame, out: Path) -> list[str]:
    """The table of the main task after each stage of each method; what the page says of it.

    Of the protocols that examine every stage: if none does, nothing is written.
    """
    every = [p for p, protocol in view["protocols"].items() if protocol.stages == "all"]
    frame = frame[frame.protocol.isin(every)]
    if frame.empty:
        return []
    rows, heads = stage_rows(view, frame), ("method", "stage", "epochs")
    lines = table(frame, rows, columns(frame))
    ranking = "Best in bold, second underlined, among the networks after their binary stage."
    caption = " ".join(
        [
            f"{name(MAIN)} after each stage of training: {measured(lines)} (%).",
            *reading(view, frame, lines, ranking, beside=False),
            *budget(view, frame, methods(view, "main"), per_stage=False),
        ]
    )
    save(out / "tables" / "stages", lines, lines, heads, caption, beside=False)
    return ["## After each stage", to_markdown(lines, heads, beside=False).rstrip(), f"*{caption}*"]


def ablation_part(view: dict[str, Any], frame: pd.DataFrame, out: Path) -> list[str]:
    """Table and figure of the ablation, on the main task; what the page says of them."""
    rows = ablation_rows(view, frame)
    lines = table(frame, rows, columns(frame))
    full = table(frame, rows, columns(frame, every=True))
    metric = measured(lines)
    caption = " ".join(
        [
            f"Ablation of burn, {name(MAIN).lower()}: {metric} (%). Epochs are those of the stages "
            "real/binact/binary, steps and images those of all stages together. A variant that "
            "starts with + is the one above it with that added.",
            *reading(view, frame, lines, RANKING.replace("trained binary networks", "variants")),
            *budget(view, frame, methods(view, "ablation"), per_stage=False),
        ]
    )
    save(out / "tables" / "ablation", full, lines, ABLATION, caption)
    ladder(lines, f"{metric} (%)", out / "figures" / "ablation")
    return [
        "## Ablation",
        to_markdown(lines, ABLATION).rstrip(),
        f"*{caption}*",
        f"![Ablation: {metric} of each variant, beside the published one](figures/ablation.png)",
        figure_key(lines, panel=True),
    ]


def cost_part(view: dict[str, Any], frame: pd.DataFrame, results: Path, out: Path) -> list[str]:
    """The cost table; what the page says of it."""
    texts = cost.tables(cost.records(view, frame, results))
    for suffix, content in texts.items():
        (out / "tables" / "cost").with_suffix(suffix).write_text(content, encoding="utf-8")
    return ["## Cost", texts[".md"].rstrip()]


def save(
    base: Path,
    full: Table,
    shown: Table,
    heads: tuple[str, ...],
    caption: str,
    beside: bool = True,
    note: str = "",
) -> None:
    """Write base.csv with every metric, base.md and base.tex with the shown ones."""
    texts = {
        ".csv": to_csv(full),
        ".md": to_markdown(shown, heads, beside) + f"\n*{caption}*\n" + (note and f"\n{note}\n"),
        ".tex": to_latex(shown, heads, f"{caption} {note}".strip(), base.name, beside),
    }
    for suffix, content in texts.items():
        base.with_suffix(suffix).write_text(content, encoding="utf-8")


def means(view: dict[str, Any], frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """method -> protocol -> mean over seeds of the protocol's first score, in percent."""
    out: dict[str, dict[str, float]] = {method: {} for method in methods(view)}
    for protocol, part in frame[frame["last"]].groupby("protocol"):
        first = part[part.metric == scores(part)[0]]
        for method, values in first.groupby("method").value:
            out[method][protocol] = round(float(values.mean()), DIGITS + 2)
    return out
