"""When a joint classifier dies: from which update on its target says nearly nothing of the image."""

import pandas as pd

from burn.report.figures import INFORMATION
from burn.report.grid import MISSING, Cell, Grid, Head

ALIVE = 0.1  # nats


def records(curves: pd.DataFrame) -> pd.DataFrame:
    """method -> of `figures.read_curves`, per seed: the update from which on the target's information
    stays below ALIVE in its stage (nan: it does not), and target's and output's at the very end."""
    lines = []
    for (method, seed), own in curves.groupby(["method", "seed"], sort=False):
        dead = own["target_information"] < ALIVE
        lasting = dead[::-1].cummin()[::-1]  # from here to the end
        at = own["update"][lasting].min() if lasting.any() else float("nan")
        end = own.iloc[-1]
        lines.append((method, seed, at, *(end[key] for key in INFORMATION)))
    return pd.DataFrame(lines, columns=["method", "seed", "dead_from_update", *INFORMATION])


def grid(lines: pd.DataFrame) -> Grid:
    """A row per method, its seeds side by side."""
    heads = [Head("method", "name")]
    heads += [
        Head("target dead from update"),
        Head("target, nats at the end"),
        Head("output, nats at the end"),
    ]
    body = []
    for method, own in lines.groupby("method", sort=False):
        ats = ", ".join(MISSING if pd.isna(at) else f"{at:.0f}" for at in own.dead_from_update)
        ends = (", ".join(f"{value:.2g}" for value in own[key]) for key in INFORMATION)
        body.append([Cell(method), Cell(ats), *map(Cell, ends)])
    caption = (
        "From which update on (counted over all stages, looked at every 20) the information of the target "
        f"stays below {ALIVE} nats; {MISSING}: it does not. Seeds side by side."
    )
    return Grid(heads, body, caption, "information")
