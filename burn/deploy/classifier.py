"""The linear evaluation of a network as its last layer: then what is exported classifies images.

An evaluation keeps its scores and not its classifier, so it is made again, by the evaluation's own code,
options, data and seed, and must score the same.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from burn import places
from burn.artifacts import read_json
from burn.errors import UserError
from burn.experiment.checks import check_section
from burn.experiment.plugins import load_code
from burn.places import CODE, METRICS, PROTOCOL, TEACHER

SAME = 0.1  # points of Top-1 that an evaluation made again may differ by
FAR = 1000.0  # where the classifier is asked what it makes of each feature: see _watch


@dataclass
class Classifier:
    """scores = features @ weight.T + bias: (N, D) -> (N, K).

    weight: (K, D); bias: (K,); names: of the K classes; top1: of the evaluation, in percent; protocol:
    its name; data: folder of its images; size: side of the images in pixels.
    """

    weight: Tensor
    bias: Tensor
    names: list[str]
    top1: float
    protocol: str
    data: Path
    size: int

    def scores(self, features: Tensor) -> Tensor:
        return features @ self.weight.t() + self.bias


def trained(evaluation: Path, network: nn.Module, stage: str, facts: dict[str, Any],
            workers: int) -> Classifier:  # fmt: skip
    """The classifier of `evaluation`, results/<run>/eval/<protocol>/<method>/seed<k>, of `network`.

    Args:
        stage, facts: which stage of what `network` is (its metrics.json).

    Raises UserError, one line, if it is no linear evaluation of this network.
    """
    told = read_json(
        evaluation / METRICS, protocol=str, task=str, method=str, seed=int, stages=dict
    )
    where = f"{evaluation / METRICS}"
    for key, expected in (("method", facts.get("method", TEACHER)), ("seed", facts["seed"])):
        if told[key] != expected:
            raise UserError(f"{where}: {key}: found {told[key]!r}; expected {expected!r}, exported")
    known = told["stages"].get(stage, {}).get("top1")
    if known is None:
        raise UserError(f"{where}: stages.{stage}.top1: missing; expected a linear evaluation's")
    protocol = places.protocol(evaluation.absolute().parents[3], told["protocol"])
    entry = read_json(protocol / PROTOCOL, options=dict, data=str)
    task = load_code(protocol / CODE, "Options", "examine", "linear")
    options = check_section(str(protocol), "options", task.Options, entry["options"])
    from burn.images.store import open_data

    data, found = open_data(entry["data"]), _watch(task)
    scores = task.examine(network, data, options, told["seed"], torch.device("cpu"), workers)
    top1 = scores.values["top1"]
    if abs(top1 - known) > SAME:
        raise UserError(
            f"{where}: stages.{stage}.top1: found {known}; expected {top1}, which the network to "
            "export has: is it another one's?"
        )
    return Classifier(*found[0], data.classes, known, told["protocol"], Path(entry["data"]),
                      options.size or data.size)  # fmt: skip


def _watch(task) -> list[tuple[Tensor, Tensor]]:
    """A list in which `task.examine` leaves weight and bias of the classifier that it trains.

    The task keeps scores alone. But they are linear in the features, standardised or not, so the
    scores of no feature, and of each feature alone, are the classifier.
    """
    found, linear = [], task.linear

    def watched(plain, epochs, labels, query, *more):
        alone = torch.cat([query.new_zeros(1, query.shape[1]), FAR * torch.eye(query.shape[1])])
        scores = linear(plain, epochs, labels, torch.cat([query, alone]), *more)
        bias, each = scores[len(query)], scores[len(query) + 1 :]
        found.append((((each - bias) / FAR).t().contiguous(), bias))
        return scores[: len(query)]

    task.linear = watched
    return found
