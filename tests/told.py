"""Scores as tests look at them: one flat dictionary."""

from burn.evaluation.scores import Scores


def told(scores: Scores) -> dict:
    """What metrics.json says of `scores`, but for their names; `correct`, `arrays` if there are any."""
    more = {"correct": scores.correct, "arrays": scores.arrays}
    entry = scores.entry()
    assert entry.pop("scores") == [
        scores.known_by,
        *(k for k in scores.values if k != scores.known_by),
    ]
    return entry | {k: v for k, v in more.items() if v is not None and len(v)}
