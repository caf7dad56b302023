"""What the examination of a network found."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Scores:
    """The scores of one network in one task, in percent.

    known_by: the name, in `values`, of the score that the tables lead with.
    values: every score by name. Names that end in _k1, _k2, ... are the headline at so many labels.
    spread: standard deviation of a score within this examination, by the score's name.
    per_class: scores of each class: no table shows them.
    correct: whether each test image is found right, in order; None where that is no question.
    notes: how the scores came about (settings that were chosen): no table shows them.
    arrays: arrays by name, kept beside the scores in predictions.npz.
    """

    known_by: str
    values: dict[str, float]
    spread: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, float] = field(default_factory=dict)
    correct: Any = None
    notes: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """What metrics.json says of it: flat, `scores` naming the scores, the headline first."""
        others = [name for name in self.values if name != self.known_by]
        out: dict[str, Any] = {"scores": [self.known_by, *others], **self.values}
        out |= {f"{name}_std": value for name, value in self.spread.items()}
        if self.per_class:
            out["per_class"] = self.per_class
        return out | ({"notes": self.notes} if self.notes else {})
