"""Is BURN above its best rival, or was it luck? Paired differences, with two intervals.

Over seeds: Student's t of the differences seed by seed, for the question whether another training
would say the same. Over images: a bootstrap of the test images with the networks held fast, for the
question whether other images would. The verdict is that of the first where there are two seeds or
more, else of the second; with one seed it speaks of these networks and of no others.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from scipy.stats import t as student

from burn import places
from burn.errors import UserError
from burn.places import PREDICTIONS
from burn.report.collect import TEACHER, entry, methods
from burn.report.grid import MISSING, Cell, Grid, Head
from burn.report.tables import columns, last_stages

RESAMPLES, SEED, PERCENT, ENOUGH = 10_000, 0, 95, 5
OURS = "burn"  # the file whose rows are compared
# Files of rows that learn nothing, learn from labels, or were trained elsewhere.
NO_RIVALS = ("random", "supervised", "imported")
Pairs = Callable[[pd.DataFrame], list[tuple[str, str]]]
METRIC, STAGE = "top1", "binary"  # of which predictions are kept; the network that is compared
DIFFERENCE = ["method", "rival", "protocol", "dataset", "stand_in", "metric", "difference", "seeds_low",
              "seeds_high", "images_low", "images_high", "seeds", "test_images", "verdict",
              "collapsed"]  # fmt: skip


def over_seeds(difference: np.ndarray) -> tuple[float, float]:
    """Ends of the 95 % t-interval of the mean of (S,) differences; nan for fewer than two."""
    if len(difference) < 2:
        return math.nan, math.nan
    error = difference.std(ddof=1) / len(difference) ** 0.5
    half = student.ppf(0.5 + PERCENT / 200, len(difference) - 1) * error
    return float(difference.mean() - half), float(difference.mean() + half)


def over_images(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Ends of the 95 % percentile bootstrap interval of the mean difference, in percentage points.

    Args:
        ours, theirs: (S, M) truth values, seed by seed, image by image: right or not.

    Images are drawn anew, with replacement, and one draw serves both methods and all seeds (Efron &
    Tibshirani 1993, chapters 8 and 13). Images whose differences agree are alike, so a draw of M
    images is a multinomial draw of how many there are of each kind.
    """
    difference = (ours.astype(float) - theirs.astype(float)).mean(axis=0)
    kinds, counts = np.unique(difference, return_counts=True)
    rng = np.random.default_rng(SEED)
    images = len(difference)
    means = 100 * (rng.multinomial(images, counts / images, RESAMPLES) / images) @ kinds
    tail = (100 - PERCENT) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def verdict(low: float, high: float) -> str:
    """above, level or below, as the interval of a difference has it; nothing if there is none."""
    if math.isnan(low):
        return ""
    return "above" if low > 0 else "below" if high < 0 else "level"


def differences(settings: dict[str, Any], frame: pd.DataFrame, results: Path) -> pd.DataFrame:
    """Each row of BURN against the best rival of each protocol; `frame` is of the main rows.

    A rival is a binary network trained without labels by another method; the best has the highest
    mean over seeds of the score the protocol is known by. Lines as of `paired`; empty if there is no
    BURN or no rival.
    """
    last = last_stages(frame)
    known = [m for m in methods(settings, "main") if m != TEACHER and last[m] == STAGE]
    ours = [m for m in known if entry(settings, m).file == OURS]
    rivals = [m for m in known if entry(settings, m).file not in (OURS, *NO_RIVALS)]

    def against_the_best(values: pd.DataFrame) -> list[tuple[str, str]]:
        candidates = [m for m in rivals if m in values]
        if not candidates:
            return []
        best = values[candidates].mean().idxmax()
        return [(m, best) for m in ours if m in values]

    return paired(settings, frame, results, against_the_best)


def paired(
    settings: dict[str, Any], frame: pd.DataFrame, results: Path, pairs: Pairs
) -> pd.DataFrame:
    """Of each protocol, each method against its rival, as `pairs` names them.

    Args:
        pairs: the scores of a protocol, a row per seed and a column per method -> (method, rival).

    `difference` is the method's score minus the rival's, in points, of the score the protocol is known
    by; the intervals as above, nan where there is none. Raises UserError if predictions do not fit.
    """
    compared = frame[frame["last"] & (frame.metric != "")].dropna(subset="value")
    lines = []
    for protocol, scored in compared.groupby("protocol", sort=False):
        facts = scored.iloc[0]
        scored = scored[scored.metric == facts.metric]
        values = scored.pivot_table(index="seed", columns="method", values="value")
        for method, rival in pairs(values):
            apart = (values[method] - values[rival]).dropna().to_numpy()
            if not len(apart):
                continue
            seeds, images = over_seeds(apart), (math.nan, math.nan)
            if facts.metric == METRIC:
                both = [
                    correct(settings, results, protocol, m, int(facts.test_images))
                    for m in (method, rival)
                ]
                images = over_images(*both)
            said = verdict(*(seeds if len(apart) > 1 else images))
            collapsed = bool(scored.collapsed[scored.method == method].any())
            about = (method, rival, protocol, facts.dataset, facts.stand_in, facts.metric)
            lines.append((*about, float(apart.mean()), *seeds, *images, len(apart),
                          int(facts.test_images), said, collapsed))  # fmt: skip
    return pd.DataFrame(lines, columns=DIFFERENCE)


def correct(settings: dict[str, Any], results: Path, protocol: str, method: str,
            images: int) -> np.ndarray:  # fmt: skip
    """(seeds, images) whether the binary network of `method` names an image's class."""
    out = []
    for seed in settings["seeds"]:
        path = places.evaluation(results, protocol, method, seed) / PREDICTIONS
        try:
            with np.load(path) as predictions:
                bits = predictions[STAGE]
        except (KeyError, ValueError, OSError, EOFError, TypeError, BadZipFile):
            found = "no whole file with them" if path.exists() else "no such file"
            raise UserError(f"{path}: found {found}; expected bits for {STAGE}") from None
        if len(bits) != -(-images // 8):
            raise UserError(f"{path}: found {len(bits)} bytes; expected bits for {images} images")
        out.append(np.unpackbits(bits, count=images))
    return np.array(out)


def grid(lines: pd.DataFrame, frame: pd.DataFrame) -> Grid:
    """The differences from the best rivals as a table."""
    said = (
        "Rows of BURN against the best rival of each column, which was trained without labels by another "
        "method (points)."
    )
    labels = columns(frame, grouped=True).set_index("protocol").label
    return printed(lines, labels, ("method", "best rival", "column"), said, "differences")


def printed(lines: pd.DataFrame, labels: pd.Series, heads: tuple[str, str, str], said: str,
            base: str) -> Grid:  # fmt: skip
    """Lines of `paired` as the table `base`, which shows what is `said`; `labels` name its protocols."""
    above = [Head(text, "name") for text in heads]
    above += [Head(text) for text in ("difference", "over seeds", "over images")]
    above.append(Head("verdict", "name"))
    body = [
        [
            Cell(line.method, after="†" * bool(line.collapsed)),
            Cell(line.rival),
            Cell(labels[line.protocol]),
            Cell(f"{line.difference:+.2f}"),
            Cell(_ends(line.seeds_low, line.seeds_high)),
            Cell(_ends(line.images_low, line.images_high)),
            Cell(line.verdict or MISSING),
        ]
        for line in lines.itertuples()
    ]
    seeds = lines.seeds.max()
    few = "one run each: of these networks" if seeds < 2 else "in these runs"
    told = f" ({few})" if seeds < ENOUGH else ""
    caption = (
        f"{said} Over seeds: {PERCENT} % t-interval of the paired differences of {seeds} "
        f"{'seeds' if seeds > 1 else 'seed'}. Over images: {PERCENT} % interval of a paired bootstrap, {RESAMPLES} "
        f"resamples of the test images, the networks held fast. Verdict{told}: above or below where the "
        "first of them that is known leaves out 0, else level."
        + " † collapsed in at least one seed."
        * bool(lines.collapsed.any())
    )
    return Grid(above, body, caption, base)


def _ends(low: float, high: float) -> str:
    return MISSING if math.isnan(low) else f"{low:+.2f} to {high:+.2f}"
