"""Has a run collapsed, and how? Measures of how much a network's outputs still say about its input.

A student and a target that are trained together can agree on nearly nothing, which makes the loss
small and the objective useless. It happens in ways that differ, each by its own measure:

    constant outputs    the outputs point one way whatever the image: their spread is near 0
    one class for all   outputs differ, but the softmax puts all images into one class: the entropy of
                        the mean prediction is near 0
    no information      predictions are the same for all images, over several classes
    dead target         the same of the target: no gradient reaches the classifier that makes it
    one code per image  every image of a batch has a class to itself, so nothing is said of which
                        images are alike; a contrastive aim, and no collapse by itself
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_SPREAD = 0.1
MIN_INFORMATION = 0.01  # nats
MAX_ONE_CLASS = 0.1  # nats: entropy of a prediction with 98 % of its mass on one class
SHARE_OF_CODES, CODES = 0.95, "one code per image"


@torch.no_grad()
def spread(outputs: Tensor) -> float:
    """Mean per-dimension standard deviation of L2-normalised (N, C) outputs, times sqrt(C).

    1 for outputs that are isotropic on the sphere, 0 for a constant.
    """
    unit = F.normalize(outputs.float(), dim=1)
    return float(unit.std(0).mean() * outputs.shape[1] ** 0.5)


@torch.no_grad()
def entropy(logits: Tensor, temperature: float) -> float:
    """Entropy in nats of the mean prediction over the batch of (N, C) logits; at most log C."""
    mean = F.softmax(logits.float() / temperature, dim=1).mean(0)
    return float(-(mean * mean.clamp_min(1e-30).log()).sum())


@torch.no_grad()
def information(logits: Tensor, temperature: float) -> float:
    """Nats that a prediction tells about which image of the batch it came from, 0 to log N.

    Entropy of the mean prediction minus the mean entropy of the predictions (mutual information).
    """
    log_p = F.log_softmax(logits.float() / temperature, dim=1)
    each = -(log_p.exp() * log_p).sum(1).mean()
    return max(0.0, entropy(logits, temperature) - float(each))


def measures(outputs: Tensor, temperature: float) -> dict[str, float]:
    """spread, entropy and information of (N, C) outputs, as the loss sees them."""
    return {
        "spread": spread(outputs),
        "entropy": entropy(outputs, temperature),
        "information": information(outputs, temperature),
    }


def kinds(row: dict[str, float], normalised: bool = False, batch: int = 0) -> list[str]:
    """The names above that fit; `row` has `measures` of outputs (output_...) and targets (target_...).

    The softmax of L2-normalised outputs is nearly flat by construction: C isotropic ones carry
    about 1 / (2 C T^2) nats (0.1 at C = 128, T = 0.2), less with their spread squared. There the
    spread alone tells. `batch` is the number of images measured; 0: unknown.
    """
    if "output_spread" not in row:
        return []
    out = ["constant outputs"] if row["output_spread"] < MIN_SPREAD else []
    if normalised:
        return out
    information = row["output_information"]
    if information < MIN_INFORMATION:
        one = row.get("output_entropy", 0.0) < MAX_ONE_CLASS
        out.append("one class for all" if one else "no information")
    if row.get("target_information", math.inf) < MIN_INFORMATION:
        out.append("dead target")
    if batch and information > SHARE_OF_CODES * math.log(batch):
        out.append(CODES)
    return out


def collapsed(row: dict[str, float], normalised: bool = False) -> bool:
    """Whether outputs or target say nearly nothing of the image."""
    return bool(set(kinds(row, normalised)) - {CODES})
