"""The frozen floating-point extractor h, as a distilled method uses it."""

from pathlib import Path

import torch
from torch import Tensor, nn

from burn.networks import build
from burn.places import WEIGHTS
from burn.training.heads import mlp_like


class FrozenTeacher:
    """The FP teacher h in use: no autograd, batch norm folded, in `dtype`.

    Attributes: `dim`, the feature dimension; `head`, its embedding MLP or None, and that one's
    output dimension, `embedding_dim`.
    """

    def __init__(self, dir: str | Path, device: torch.device, dtype: torch.dtype):
        weights = build.read_weights(dir)
        network = build.filled(dir, weights)
        self.dim, self.dtype = network.dim, dtype
        self.network = network.fold().to(device, dtype, memory_format=torch.channels_last)
        self.head = None
        if "head" in weights:
            self.head = (
                mlp_like(weights["head"], f"{Path(dir) / WEIGHTS}: head", self.dim)
                .to(device)
                .eval()
                .requires_grad_(False)
            )
            linears = [m for m in self.head if isinstance(m, nn.Linear)]
            self.embedding_dim = linears[-1].out_features

    def features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, dim) float32 features."""
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            return self.network(x.to(self.dtype)).float()

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        """(N, 3, H, W) -> {stride: (N, C, H / stride, W / stride)}, float32, the last of each stride.

        The mean over the pixels of the coarsest is what `features` gives.
        """
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            return {s: m.float() for s, m in self.network.maps(x.to(self.dtype)).items()}

    def embedding(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, E) float32 output of the contrastive MLP."""
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            return self.head(self.network(x.to(self.dtype)).float())
