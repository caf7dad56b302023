"""From the evaluations to tables, figures and a page: `report` is the whole step.

`collect` reads the results into one tidy frame, `rows` picks lines and columns, `tables` and
`figures` draw them, `captions` says what a reader must know, `difference` and `cost` are parts of
their own, `write` says what is drawn and where it goes; `published.csv` holds the figures others
printed, with sources.
"""

from pathlib import Path


def report(view: dict, results: Path, out: Path) -> None:
    """Write the report of the run folder `results` into the artifact folder `out`.

    `view` is burn.params.view(params, "report"). Makes tables/<task>.{csv,md,tex} and
    figures/<task>.{pdf,png} for each task, and <task>_k where it has scores from k images, and of all
    tasks, if there are several, `comparison`; tables/{stages,cost}.{csv,md,tex}, where there are any
    tables/differences.csv, tables/ablation.{csv,md,tex} and figures/ablation.{pdf,png}, report.md
    and metrics.json (method -> protocol -> mean, in percent). Raises ParamsError where a result is
    missing.
    """
    from burn.report.write import write  # pandas and matplotlib: not before they are needed

    write(view, Path(results), Path(out))
