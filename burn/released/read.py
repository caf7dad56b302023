"""Weights that people already have, read into this project's networks.

    format   file                                      becomes
    burn     stage file (extract_weights_for_multi)    network, classifier (l), target (g)
             training checkpoint (epoch_N, latest)     the same; as a teacher its ResNet-50 (h)
             backbone (extract_backbone_weights)       network
             FP backbone (fp_teacher/moco/...)         the ResNet-50
    s2bnn    checkpoint_NNNN.pth.tar                   network, head
    moco     moco_v2_800ep_pretrain.pth.tar            the ResNet-50, head; also the FP backbone

Keys may begin with `module.`; widths are read from the shapes (burn.released.layouts).

A BURN or S2-BNN file does not say which stage it is of: keys and shapes are the same after stage 1
(`binact`: binary activations, real weights) and stage 2 (`binary`). Whoever loads it must know;
`binary`, where the recipe ends, is taken unless told otherwise.

The released networks binarise with torch.sign, which is 0 at 0; here the sign of 0 is +1 (see
burn.networks.binary), because one bit has no third value. So a weight of exactly 0 becomes +mean|w| instead
of 0 (the import counts them: `zero_weights`), and an activation of exactly minus its shift becomes
+1 instead of 0. Everything else is the same to float rounding.
"""

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from burn.artifacts import artifact, file_hash
from burn.errors import UserError
from burn.experiment.schema import FORMATS, STAGES
from burn.networks import build
from burn.networks.binary import BinaryConv2d
from burn.networks.reactnet import ReActNet
from burn.places import OVERLAY, PACKED, WEIGHTS
from burn.released.layouts import LAYOUTS, Layout, Part, parts


@dataclass
class Released:
    """A file that was read: frozen eval-mode networks by name, the extractor as "network"."""

    layout: Layout
    networks: dict[str, nn.Module]

    def facts(self, precision: str) -> dict[str, Any]:
        """What the metrics.json of its artifact says, but for the file's identity."""
        network, layout = self.networks["network"], self.layout
        out = {"network": network.config, "layout": layout.name, "epochs": 0, "collapsed": False}
        if layout.fp:
            return out | {"imported": True, "precision": "fp", "stage": "teacher"}
        out |= {"imported": precision, "precision": precision, "stage": precision}
        return out | {"method": "imported", "zero_weights": zero_weights(network)}


def zero_weights(network: nn.Module) -> int:
    """Binary weights of `network` that are exactly 0: 0 in the released network, +1 in this one."""
    convs = [m for m in network.modules() if isinstance(m, BinaryConv2d)]
    return sum(int((conv.weight == 0).sum()) for conv in convs)


def load(path: str | Path, precision: str | None = None) -> nn.Module:
    """See burn.load."""
    path = Path(path)
    if (path / PACKED).is_file():
        from burn.deploy import packed

        network = packed.load(path / PACKED)
    else:
        network = build.load(path) if path.is_dir() else read(path).networks["network"]
    binary = isinstance(network, ReActNet)
    if precision is not None or (binary and not path.is_dir()):
        network = network.at(checked(precision, path)) if binary else _fp(precision, path)
    return network


def checked(precision: str | None, path: Path) -> str:
    """`precision`, or what a released binary network is taken for. Raises UserError."""
    if precision not in (None, *STAGES):
        raise UserError(
            f"precision: found {precision!r}; allowed: {', '.join(STAGES)} (binact for a file of "
            f"stage 1, binary, the default, for one of stage 2; {path} does not say which it is)"
        )
    return precision or "binary"


def _fp(precision: str, path: Path):
    raise UserError(
        f"precision: found {precision!r}; allowed: none, {path} holds no binary network"
    )


def import_checkpoint(path: Path, format: str, precision: str | None, out: Path) -> None:
    """Write the networks of a released file as the artifact folder `out`: the step of that name.

    overlay.yaml there is what params.yaml must say for the file to take part in an experiment: a
    binary network is a row called as the folder is, a floating-point one the teacher.
    """
    released = read(path, format, fp=precision == "fp" or None)
    if released.layout.fp:
        precision = "fp" if precision in (None, "fp") else _fp(precision, path)
    else:
        precision = checked(precision, path)
    settings = {"format": format, "precision": precision}
    with artifact(out, "import-checkpoint", settings, [path]) as work:
        build.save(released.networks, work.path(WEIGHTS))
        work.metrics = released.facts(precision) | {"sha256": file_hash(path), "seed": 0}
        overlay = _overlay(out, work.metrics, file_hash(work.path(WEIGHTS)))
        work.path(OVERLAY).write_text(yaml.safe_dump(overlay, sort_keys=False))
    print(f"{path}: {released.layout.name}: {', '.join(released.networks)} ({precision})")
    if not released.layout.fp:
        print("the file does not say which stage it is of: --precision binact if it is stage 1")
        print(f"weights of exactly 0, which become +1: {work.metrics['zero_weights']}")
    print(f"as part of an experiment: overlay {out / OVERLAY}")


def _overlay(out: Path, metrics: dict[str, Any], sha256: str) -> dict[str, Any]:
    file = {"checkpoint": str(out / WEIGHTS), "sha256": sha256}
    if metrics["precision"] == "fp":
        return {"teacher": {"network": metrics["network"], **file}}
    row = re.sub(r"[^a-z0-9_]", "_", out.name.lower()).strip("_") or "imported"
    recipe = file | {"precision": metrics["precision"]}
    entry = {"file": "imported", "epochs": dict.fromkeys(STAGES, 0), "recipe": recipe}
    return {"methods": {"standalone": {row: entry}}}


def read(path: str | Path, format: str = "auto", fp: bool | None = None) -> Released:
    """Read a released file.

    Args:
        format: one of burn.experiment.schema.FORMATS.
        fp: True for its floating-point network, False for its binary one, None for what it is for.

    Raises UserError if the file is not there, holds anything but tensors and plain containers
    (naming what), is of another layout, or has keys missing, extra or mis-shaped (listing them),
    or values that are no numbers.
    """
    where = str(path)
    state = _state_dict(_unpickled(Path(path), where), where)
    layout = _recognised(state, format, fp, where)
    return Released(layout, fill(where, layout.name, parts(layout, state), state, layout.spare))


def _unpickled(path: Path, where: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{where}: no such file; expected a checkpoint") from None
    except pickle.UnpicklingError as error:  # a class, a function: neither looked up nor called
        named = re.search(r"(?:GLOBAL|[Cc]lass) ([\w.]+)", str(error))
        what = named[1] if named else " ".join(str(error).split(" error: ")[-1].split())[:200]
        raise UserError(
            f"{where}: refused: found {what} in it; allowed: tensors and plain containers"
        ) from None
    except Exception as error:  # what is no checkpoint fails in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(f"{where}: not a checkpoint that can be loaded safely: {reason}") from None


def _state_dict(content: Any, where: str) -> dict[str, Any]:
    """All state dicts in a file as one; of several, each key begins with the name of its own."""
    if not isinstance(content, dict):
        raise UserError(f"{where}: found {type(content).__name__}; expected a dictionary")
    held = {"": content} if "state_dict" in content else {f"{k}.": v for k, v in content.items()}
    return {
        prefix + str(key).removeprefix("module."): value
        for prefix, entry in held.items()
        if isinstance(entry, dict) and isinstance(entry.get("state_dict"), dict)
        for key, value in entry["state_dict"].items()
    }


def _recognised(state: dict[str, Any], format: str, fp: bool | None, where: str) -> Layout:
    if format not in FORMATS:
        raise UserError(f"format: found {format!r}; allowed: {', '.join(FORMATS)}")
    fitting = [layout for layout in LAYOUTS if any(key.startswith(layout.mark) for key in state)]
    allowed = [
        layout
        for layout in LAYOUTS
        if (format == "auto" or format in layout.formats) and (fp is None or fp == layout.fp)
    ]
    for layout in fitting:
        if layout in allowed:
            return layout
    what = f"keys {_first(list(state))}" if state else "no state_dict"
    if fitting:
        what = (
            f"a file of the layout {fitting[0].name!r} (format {' or '.join(fitting[0].formats)})"
        )
    raise UserError(f"{where}: found {what}; expected {', '.join(la.name for la in allowed)}")


def fill(where: str, kind: str, networks: dict[str, Part], state: dict[str, Any],
         spare: str = "(?!)") -> dict[str, nn.Module]:  # fmt: skip
    """The modules of `networks`, filled from `state`, frozen and in eval mode.

    `spare` is a pattern of keys that may be left over. Raises UserError listing what does not fit.
    """
    wanted = {key: shape for part in networks.values() for key, shape in part.wanted().items()}
    shapes = {key: _shape(value) for key, value in state.items()}
    wrong = {
        "missing": [key for key in wanted if key not in state],
        "extra": [key for key in state if key not in wanted and not re.match(spare, key)],
        "mis-shaped": [
            f"{key} {shapes[key]}, expected {shape}"
            for key, shape in wanted.items()
            if shapes.get(key, shape) != shape
        ],
    }
    if any(wrong.values()):
        told = [f"{len(keys)} {what} ({_first(keys)})" for what, keys in wrong.items() if keys]
        raise UserError(f"{where}: keys do not fit a {kind}: {'; '.join(told)}")
    filled = {name: part.fill(state) for name, part in networks.items()}
    build.check_finite(build.flatten(filled), where)
    return filled


def _shape(value: Any) -> list[int] | str:
    """The shape of a dense tensor of numbers; of anything else, what it is."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.layout != torch.strided or value.is_quantized or value.is_complex():
        return f"{value.dtype} {value.layout}"
    return list(value.shape)


def _first(keys: list[str], count: int = 5) -> str:
    return "; ".join(keys[:count]) + ("; ..." if len(keys) > count else "")
