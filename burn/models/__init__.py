"""The networks, and how to get one back from an artifact folder."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from burn.artifacts import METRICS, WEIGHTS, read_json
from burn.models.heads import mlp_like
from burn.models.reactnet import ReActNet
from burn.params import ParamsError


def build(config: dict[str, Any]) -> nn.Module:
    """A feature extractor, freshly initialised, from its `config` (arch, width, stem, ...)."""
    config = dict(config)
    if config["arch"] == "reactnet":
        config.pop("arch")
        return ReActNet(**config)
    from burn.models.resnet import ResNet  # late: torchvision takes as long to import as torch

    return ResNet(**config)


def read_weights(dir: str | Path) -> dict[str, dict[str, Tensor]]:
    """The state dicts in an artifact folder, by network name.

    Raises ParamsError if the folder has no whole weights file.
    """
    path = Path(dir) / WEIGHTS
    try:
        flat = load_file(path)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; has the step that makes it run?") from None
    except SafetensorError as error:
        raise ParamsError(f"{path}: not a safetensors file: {error}") from None
    networks: dict[str, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        name, _, inner = key.partition(".")
        networks.setdefault(name, {})[inner] = tensor
    return networks


def load(dir: str | Path) -> nn.Module:
    """The feature extractor of an artifact folder, in eval mode, at the precision it ends in.

    Maps an (N, 3, H, W) normalised float batch to (N, D) features. Raises ParamsError.
    """
    metrics = read_json(Path(dir) / METRICS)
    network = build(metrics["network"])
    network.load_state_dict(read_weights(dir)["network"])
    if isinstance(network, ReActNet):
        network.at(metrics["precision"])
    return network.eval().requires_grad_(False)


def flatten(networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The state dicts of `networks` as one, keys `<name>.<key>`: what a weights file holds."""
    return {
        f"{name}.{key}": tensor.detach().cpu().contiguous()
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }


class FrozenTeacher:
    """The FP teacher h in use: no autograd, batch norm folded, in `dtype`.

    Attributes: `dim`, the feature dimension; `head`, its embedding MLP or None, and that one's
    output dimension, `embedding_dim`.
    """

    def __init__(self, dir: str | Path, device: torch.device, dtype: torch.dtype):
        weights = read_weights(dir)
        network = build(read_json(Path(dir) / METRICS)["network"])
        network.load_state_dict(weights["network"])
        self.dim, self.dtype = network.dim, dtype
        self.network = network.fold().to(device, dtype, memory_format=torch.channels_last)
        self.head = None
        if "head" in weights:
            self.head = mlp_like(weights["head"]).to(device).eval().requires_grad_(False)
            linears = [m for m in self.head if isinstance(m, nn.Linear)]
            self.embedding_dim = linears[-1].out_features

    def features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, dim) float32 features."""
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            return self.network(x.to(self.dtype)).float()

    def embedding(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, E) float32 output of the contrastive MLP."""
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            return self.head(self.network(x.to(self.dtype)).float())
