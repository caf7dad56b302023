"""A network from its config, and back from an artifact folder."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from burn.artifacts import read_json, writing
from burn.errors import UserError
from burn.experiment.schema import STAGES
from burn.networks.reactnet import ReActNet
from burn.networks.resnet import ResNet
from burn.places import METRICS, WEIGHTS


def network(config: dict[str, Any]) -> nn.Module:
    """A feature extractor, freshly initialised, from its `config` (arch, width, stem, ...)."""
    config = dict(config)
    if config["arch"] == "reactnet":
        config.pop("arch")
        return ReActNet(**config)
    return ResNet(**config)


def read_weights(dir: str | Path) -> dict[str, dict[str, Tensor]]:
    """The state dicts in an artifact folder, by network name.

    Raises UserError if the folder has no whole weights file, or a weight is no number.
    """
    path = Path(dir) / WEIGHTS
    try:
        flat = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; has the step that makes it run?") from None
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file: {error}") from None
    check_finite(flat, str(path))
    networks: dict[str, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        name, _, inner = key.partition(".")
        networks.setdefault(name, {})[inner] = tensor
    return networks


def check_finite(tensors: dict[str, Tensor], where: str) -> None:
    """Raise UserError if one of `tensors` has NaN or infinite values: a network that was trained
    too fast, or a spoiled file. Some tasks would give it a score."""
    counts = {
        key: int((~tensor.float().isfinite()).sum())
        for key, tensor in tensors.items()
        if tensor.is_floating_point()
    }
    bad = [key for key, count in counts.items() if count]
    if bad:
        values = "1 value that is" if counts[bad[0]] == 1 else f"{counts[bad[0]]} values that are"
        more = f" (and {len(bad) - 1} tensor{'s' * (len(bad) > 2)} more)" if len(bad) > 1 else ""
        raise UserError(
            f"{where}: {bad[0]}: found {values} NaN or infinite{more}; expected numbers"
        )


def fill(module: nn.Module, weights: dict[str, Tensor], where: str) -> nn.Module:
    """`module`, its tensors those of `weights`. Raises UserError, one line, where they do not fit."""
    wanted = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    wrong = {
        "missing": sorted(wanted.keys() - given.keys()),
        "extra": sorted(given.keys() - wanted.keys()),
        "mis-shaped": [
            f"{key} {given[key]}, expected {shape}"
            for key, shape in wanted.items()
            if given.get(key, shape) != shape
        ],
    }
    if any(wrong.values()):
        told = (f"{len(keys)} {what} ({keys[0]})" for what, keys in wrong.items() if keys)
        raise UserError(f"{where}: tensors do not fit the network: {'; '.join(told)}")
    module.load_state_dict(weights)
    return module


def load(dir: str | Path) -> nn.Module:
    """The feature extractor of an artifact folder, in eval mode, at the precision it ends in.

    Maps an (N, 3, H, W) normalised float batch to (N, D) features. Raises UserError.
    """
    module = filled(dir, read_weights(dir))
    if isinstance(module, ReActNet):
        path = Path(dir) / METRICS
        precision = read_json(path, precision=str)["precision"]
        if precision not in STAGES:
            raise UserError(f"{path}: precision: found {precision!r}; allowed: {', '.join(STAGES)}")
        module.at(precision)
    return module.eval().requires_grad_(False)


def described(path: Path) -> nn.Module:
    """The extractor that the metrics.json `path` tells of, freshly initialised. Raises UserError."""
    config = read_json(path, network=dict)["network"]
    try:
        return network(config)
    except Exception:  # keys or values that no network takes fail in any way
        raise UserError(
            f"{path}: network: found {config!r:.120}; expected arch, width, stem ..."
        ) from None


def filled(dir: str | Path, weights: dict[str, dict[str, Tensor]]) -> nn.Module:
    """The extractor of an artifact folder, filled from its `weights`. Raises UserError."""
    where = f"{Path(dir) / WEIGHTS}: network"
    return fill(described(Path(dir) / METRICS), weights.get("network", {}), where)


def flatten(networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The state dicts of `networks` as one, keys `<name>.<key>`: what a weights file holds."""
    return {
        f"{name}.{key}": tensor.detach().cpu().contiguous()
        for name, module in networks.items()
        for key, tensor in module.state_dict().items()
    }


def save(networks: dict[str, nn.Module], path: Path) -> None:
    """Write the weights file of `networks`. Raises UserError, one line, where the disk is full."""
    flat = flatten(networks)
    with writing(path, sum(tensor.nbytes for tensor in flat.values())):
        save_file(flat, path)
