"""Has a run collapsed? Measures of how much a network's outputs still say about its input.

A student and a target that are trained together can agree on nearly nothing: outputs that point
one way whatever the image (spread near 0), or a distribution that hardly depends on it
(information near 0). Either makes the loss small and the representation no better than untrained.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_SPREAD = 0.1
MIN_INFORMATION = 0.01


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


def collapsed(spread: float, information: float, normalised: bool = False) -> bool:
    """The verdict of this project: outputs point one way, or say less than 0.01 nats.

    The softmax of L2-normalised outputs is nearly flat by construction: C isotropic ones carry
    about 1 / (2 C T^2) nats (0.1 at C = 128, T = 0.2), less with their spread squared. There the
    spread alone tells.
    """
    return spread < MIN_SPREAD or (not normalised and information < MIN_INFORMATION)
