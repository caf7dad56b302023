"""Heads that sit on a feature extractor during pretraining."""

from torch import Tensor, nn


def classifier(dim: int, outputs: int = 2000, hidden: int = 2000) -> nn.Sequential:
    """BURN's classifiers l and g: Linear - BN - ReLU - Linear, (N, dim) -> (N, outputs).

    Linear layers start from Kaiming's normal initialisation (the released recipe).
    """
    head = nn.Sequential(
        nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )
    for layer in (head[0], head[3]):
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return head


def mlp(dim: int, outputs: int = 128, hidden: int | None = None, norm: bool = False):
    """MoCo v2's and S2-BNN's projection: Linear - ReLU - Linear, (N, dim) -> (N, outputs).

    hidden: width in between, `dim` if None. norm: batch norm after both linear layers, which
    neither recipe has (MoCo v3 does): without it the outputs of a fresh network all point one
    way, and a contrastive run of a few thousand updates is over before they have come apart.
    """
    hidden = hidden or dim
    if not norm:
        return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    return nn.Sequential(
        nn.Linear(dim, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
        nn.BatchNorm1d(outputs, affine=False),
    )


def mlp_like(weights: dict[str, Tensor]) -> nn.Sequential:
    """An `mlp` that the state dict `weights` fits, filled from it."""
    norm = "1.running_mean" in weights
    hidden, dim = weights["0.weight"].shape
    head = mlp(dim, len(weights["3.bias" if norm else "2.bias"]), hidden, norm)
    head.load_state_dict(weights)
    return head
