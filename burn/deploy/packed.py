"""network.safetensors: a network in as few bytes as it has, a bit for each binary weight.

Of a ReActNet the file holds, each a tensor over the whole network, filter after filter:

    weights                 binary precision: uint8, eight signs a byte (1 for +1; the first weight is the
                            lowest bit), in the order of OIHW; else float32
    scale                   binary precision alone: float32, one a filter
    before, slope, after    float32, one a filter
    shift                   float32, one an input channel of each binary convolution
    stem.weight, .bias  neck.weight, .bias

burn.deploy.fold says what they are for. Of a ResNet it holds the state dict, batch norms folded. The
header says which network it is (`burn`: JSON of `network`, its config, and `precision`).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from burn.deploy.fold import Folded, Half, fold, unfold
from burn.errors import UserError
from burn.networks import build
from burn.networks.reactnet import ReActNet

NUMBERS = ("before", "slope", "after")


def save(network: nn.Module, precision: str, path: Path) -> None:
    """Write `network`, which is at `precision`, into `path`."""
    header = {"network": network.config, "precision": precision}
    if isinstance(network, ReActNet):
        tensors = _tensors(fold(network), precision)
    else:
        with torch.no_grad():
            folded = build.network(network.config)
            folded.load_state_dict(network.state_dict())
            tensors = {k: v.contiguous() for k, v in folded.fold().state_dict().items()}
    save_file(tensors, path, {"burn": json.dumps(header, sort_keys=True)})


def load(path: Path) -> nn.Module:
    """The network in `path`, frozen and in eval mode: its features are those of the network saved, to
    float rounding. Raises UserError, one line, if `path` is damaged or not such a file."""
    header, tensors = _read(path)
    try:
        network = build.network(header["network"])
        precision = header["precision"]
        if isinstance(network, ReActNet):
            network.at(precision)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: header: found no network to build: {error!r}") from None
    if not isinstance(network, ReActNet):
        return build.fill(network.fold(), tensors, str(path)).eval().requires_grad_(False)
    _check(tensors, _tensors(fold(network), precision), path)
    return unfold(_folded(tensors, fold(network)), network)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get("burn")
            if said is None:
                raise UserError(f"{path}: found no header of burn; expected what export wrote")
            return json.loads(said), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; has the step that makes it run?") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: {error}; expected what export wrote") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: header: not JSON: {error}") from None


def _check(given: dict[str, Tensor], wanted: dict[str, Tensor], path: Path) -> None:
    kinds = [{k: f"{t.dtype} {tuple(t.shape)}" for k, t in t.items()} for t in (given, wanted)]
    for key in sorted({*given, *wanted}):
        found, expected = (kind.get(key, "none") for kind in kinds)
        if found != expected:
            raise UserError(f"{path}: {key}: found {found}; expected {expected}")
    for key, tensor in given.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{path}: {key}: found a value that is no number; expected numbers")


def _tensors(folded: Folded, precision: str) -> dict[str, Tensor]:
    halves = folded.halves
    weights = torch.cat([half.weight.flatten() for half in halves])
    out = {"weights": pack(weights) if precision == "binary" else weights}
    names = ("scale", *NUMBERS) if precision == "binary" else NUMBERS
    for name in (*names, "shift"):
        out[name] = torch.cat([getattr(half, name) for half in halves])
    for part, pair in (("stem", folded.stem), ("neck", folded.neck)):
        out |= dict(zip((f"{part}.weight", f"{part}.bias"), pair or ()))
    return out


def _folded(tensors: dict[str, Tensor], like: Folded) -> Folded:
    """What `_tensors` made these from; `like` has the shapes."""
    sizes = [half.weight.numel() for half in like.halves]
    weights = tensors["weights"]
    if weights.dtype == torch.uint8:
        weights = unpack(weights, sum(sizes))
    filters = [len(half.scale) for half in like.halves]
    columns = {name: tensors[name].split(filters) for name in NUMBERS}
    columns["scale"] = (
        tensors["scale"].split(filters)
        if "scale" in tensors
        else [half.scale for half in like.halves]
    )
    columns["shift"] = tensors["shift"].split([len(half.shift) for half in like.halves])
    halves = [
        Half(
            weight=w.view_as(half.weight),
            stride=half.stride,
            precision=half.precision,
            **{name: columns[name][i] for name in columns},
        )
        for i, (w, half) in enumerate(zip(weights.split(sizes), like.halves))
    ]
    stem, neck = (
        (tensors[f"{part}.weight"], tensors[f"{part}.bias"])
        if f"{part}.weight" in tensors
        else None
        for part in ("stem", "neck")
    )
    return Folded(stem, like.stride, halves, neck)


def pack(signs: Tensor) -> Tensor:
    """(n,) of +-1 -> uint8 (ceil(n / 8),): a bit each, the first one lowest."""
    return torch.from_numpy(np.packbits(signs.numpy() > 0, bitorder="little"))


def unpack(bits: Tensor, count: int) -> Tensor:
    """The `count` signs, float32, that `pack` made `bits` of."""
    found = np.unpackbits(bits.numpy(), count=count, bitorder="little")
    return torch.from_numpy(found.astype(np.float32)).mul_(2).sub_(1)
