"""Is BURN better than its best rival, or was it luck? A paired bootstrap over the test images."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from burn import places
from burn.errors import UserError
from burn.places import PREDICTIONS
from burn.report.collect import TEACHER, entry, methods
from burn.report.tables import columns, last_stages

RESAMPLES, SEED, PERCENT = 10_000, 0, 95
OURS = "burn"  # the file whose rows are compared
# Files of rows that learn nothing, learn from labels, or were trained elsewhere.
NO_RIVALS = ("random", "supervised", "imported")
METRIC, STAGE = "top1", "binary"  # what is compared
DIFFERENCE = ["method", "rival", "protocol", "dataset", "stand_in", "difference", "low", "high",
              "seeds", "test_images"]  # fmt: skip


def interval(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Mean difference in percentage points and its 95 % percentile bootstrap interval.

    Args:
        ours, theirs: (S, M) truth values, seed by seed, image by image: right or not.

    Images and seeds are both drawn anew, with replacement, and one draw serves both methods (Efron
    & Tibshirani 1993, chapters 8 and 13). Images on which the seeds' differences agree are alike,
    so a draw of M images is a multinomial draw of how many there are of each kind.
    """
    difference = ours.astype(float) - theirs.astype(float)
    seeds, images = difference.shape
    kinds, counts = np.unique(difference, axis=1, return_counts=True)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(images, counts / images, RESAMPLES) / images
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    means = 100 * ((drawn @ kinds.T) * weights).sum(axis=1)
    tail = (100 - PERCENT) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return 100 * float(difference.mean()), float(low), float(high)


def differences(settings: dict[str, Any], frame: pd.DataFrame, results: Path) -> pd.DataFrame:
    """Each row of BURN against the best rival of each protocol; `frame` is of the main rows.

    A rival is a binary network trained without labels by another method; the best has the highest
    mean over seeds. `difference` is Top-1 of the method minus that of the rival in points, `low` and
    `high` are the ends of its interval. Empty if there is no BURN or no rival. Raises UserError if
    predictions do not fit.
    """
    last = last_stages(frame)
    known = [m for m in methods(settings, "main") if m != TEACHER and last[m] == STAGE]
    ours = [m for m in known if entry(settings, m).file == OURS]
    rivals = [m for m in known if entry(settings, m).file not in (OURS, *NO_RIVALS)]
    compared = frame[frame["last"] & (frame.metric == METRIC)].dropna(subset="value")
    lines = []
    for method in ours:
        for protocol, scored in compared.groupby("protocol", sort=False):
            means, facts = scored.groupby("method").value.mean(), scored.iloc[0]
            candidates = [m for m in rivals if m in means]
            if not candidates or method not in means:
                continue
            rival, images = max(candidates, key=means.get), int(facts.test_images)
            right, theirs = (
                correct(settings, results, protocol, m, images) for m in (method, rival)
            )
            about = (method, rival, protocol, facts.dataset, facts.stand_in)
            lines.append((*about, *interval(right, theirs), *right.shape))
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
        except (KeyError, ValueError, OSError, EOFError, TypeError, BadZipFile) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: found {reason}; expected bits for {STAGE}") from None
        if len(bits) != -(-images // 8):
            raise UserError(f"{path}: found {len(bits)} bytes; expected bits for {images} images")
        out.append(np.unpackbits(bits, count=images))
    return np.array(out)


def sentence(lines: pd.DataFrame, frame: pd.DataFrame) -> str:
    """The differences, as they stand under the main table."""
    labels = columns(frame).set_index("protocol").label
    told = [
        f"{line.method} - {line.rival} on {labels[line.protocol]} "
        f"{line.difference:+.2f} [{line.low:+.2f}, {line.high:+.2f}]"
        for line in lines.itertuples()
    ]
    seeds = f" and of the {lines.seeds[0]} seeds" if lines.seeds[0] > 1 else ""
    return (
        "Difference in Top-1 to the best rival trained without labels (points, "
        f"{PERCENT} % interval of a paired bootstrap, {RESAMPLES} resamples of the test images"
        f"{seeds}): {'; '.join(told)}."
    )
