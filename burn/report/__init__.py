"""From the evaluations to tables, figures and a page: `report` is the whole step.

`collect` reads the results into one tidy frame, `rows` picks lines and columns, `tables` and `latex`
write them down, `figures`, `plots` and `examples` draw them in one `style`, `captions` says what a
reader must know, `difference`, `cost` and `nodes` (what the steps' provenance tells) are parts of
their own; `parts` makes the sections, `page` prints them as Markdown and HTML, `write` puts all in its
place. `compare` sets two runs side by side. `published.csv` holds the figures others printed, with
sources.
"""

from pathlib import Path


def report(settings: dict, results: Path, out: Path) -> None:
    """Write the report of the run folder `results` into the artifact folder `out`.

    `settings` is burn.experiment.reads.settings(params, "report"). Makes tables/<task>.{csv,md,tex} and
    figures/<task>.{pdf,png} for each task, and <task>_k where it has scores from k images, and of all
    tasks, if there are several, `comparison`; `transfer`, `stages`, `ablation`, `cost`; tables/differences.csv,
    where there are any; figures of training and of what evaluations kept to be seen; report.md,
    report.html (in one file, all it shows), metrics/<protocol>.json (method -> mean, in percent) and
    metrics.json, the same of all. Raises UserError where a result is missing.
    """
    from burn.report.write import write  # pandas and matplotlib: not before they are needed

    write(settings, Path(results), Path(out))
