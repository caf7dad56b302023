"""Is BURN better than its best rival, or was it luck? A paired bootstrap over the test images."""

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from burn.errors import UserError
from burn.places import PREDICTIONS
from burn.report.collect import TEACHER, entry, methods, place
from burn.report.rows import columns, last_stages

RESAMPLES, SEED, PERCENT = 10_000, 0, 95
OURS = "burn"  # the file whose rows are compared
# Files of rows that learn nothing, learn from labels, or were trained elsewhere.
NO_RIVALS = ("random", "supervised", "imported")
METRIC, STAGE = "top1", "binary"  # what is compared


@dataclass(frozen=True)
class Difference:
    """Top-1 of `method` minus that of `rival`, in points, with the ends of its interval."""

    method: str
    rival: str
    protocol: str
    dataset: str
    stand_in: bool
    difference: float
    low: float
    high: float
    seeds: int
    test_images: int


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


def differences(settings: dict[str, Any], frame: pd.DataFrame, results: Path) -> list[Difference]:
    """Each row of BURN against the best rival of each protocol; `frame` is of the main rows.

    A rival is a binary network trained without labels by another method; the best has the highest
    mean over seeds. Empty if there is no BURN or no rival. Raises UserError if predictions are
    missing.
    """
    last = last_stages(frame)
    known = [m for m in methods(settings, "main") if m != TEACHER and last[m] == STAGE]
    ours = [m for m in known if entry(settings, m).file == OURS]
    rivals = [m for m in known if entry(settings, m).file not in (OURS, *NO_RIVALS)]
    out = []
    for protocol, part in frame[frame["last"] & (frame.metric == METRIC)].groupby("protocol"):
        means, facts = part.groupby("method").value.mean(), part.iloc[0]
        candidates = [m for m in rivals if m in means]
        if not candidates:
            continue
        rival = max(candidates, key=lambda m: means[m])
        about = (protocol, facts.dataset, bool(facts.stand_in))
        theirs = _correct(settings, results, protocol, rival, int(facts.test_images))
        for method in (m for m in ours if m in means):
            right = _correct(settings, results, protocol, method, int(facts.test_images))
            out.append(Difference(method, rival, *about, *interval(right, theirs), *right.shape))
    order = list(settings["protocols"])
    return sorted(out, key=lambda d: (ours.index(d.method), order.index(d.protocol)))


def _correct(settings, results: Path, protocol: str, method: str, images: int) -> np.ndarray:
    """(seeds, images) whether the binary network of `method` finds an image's class."""
    out = []
    for seed in settings["seeds"]:
        path = place(results, protocol, method, seed).with_name(PREDICTIONS)
        try:
            with np.load(path) as found:
                bits = found[STAGE]
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; has the step that makes it run?") from None
        except (KeyError, ValueError, OSError, BadZipFile) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: found {reason}; expected bits for {STAGE}") from None
        if len(bits) != -(-images // 8):
            raise UserError(f"{path}: found {len(bits)} bytes; expected bits for {images} images")
        out.append(np.unpackbits(bits, count=images))
    return np.array(out)


def sentence(found: list[Difference], frame: pd.DataFrame) -> str:
    """The differences, as they stand under the main table."""
    labels = {column.protocol: column.label for column in columns(frame)}
    told = [
        f"{d.method} - {d.rival} on {labels[d.protocol]} "
        f"{d.difference:+.2f} [{d.low:+.2f}, {d.high:+.2f}]"
        for d in found
    ]
    seeds = f" and of the {found[0].seeds} seeds" if found[0].seeds > 1 else ""
    return (
        "Difference in Top-1 to the best rival trained without labels (points, "
        f"{PERCENT} % interval of a paired bootstrap, {RESAMPLES} resamples of the test images"
        f"{seeds}): {'; '.join(told)}."
    )


def to_csv(found: list[Difference]) -> str:
    """One line per difference, numbers unrounded."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [f.name for f in fields(Difference)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(d) for d in found)
    return out.getvalue()
