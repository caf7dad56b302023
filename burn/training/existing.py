"""Weights that exist already, in this project's form: the teacher's checkpoint, an imported row."""

from pathlib import Path
from typing import Any

from torch import Tensor

from burn.artifacts import file_hash, read_json
from burn.errors import UserError
from burn.networks import build
from burn.places import METRICS, WEIGHTS, named


def identified(path: str, sha256: str | None, key: str) -> Path:
    """The weights.safetensors at `path`, if it is the file that is meant.

    Args:
        sha256: of the file, or None if any will do.
        key: the section of params.yaml that names it, for messages.

    Raises UserError: no such file, another one than `sha256` says, or a released file that has not
    been imported.
    """
    file = named(path)
    if not file.is_file():
        raise UserError(f"{key}.checkpoint: found {path!r}; expected a file")
    if file.name != WEIGHTS:
        raise UserError(
            f"{key}.checkpoint: found {path!r}; expected a {WEIGHTS} (python -m burn "
            f"import-checkpoint --input {path} --out FOLDER makes one)"
        )
    if sha256 is not None and (actual := file_hash(file)) != sha256:
        raise UserError(f"{key}.sha256: found {actual} for {path}; expected {sha256}")
    return file


def existing(path: str, sha256: str | None, key: str) -> tuple[dict[str, dict[str, Tensor]], dict]:
    """(state dicts by network name, config of the extractor) of the artifact that `path` lies in.

    Arguments and errors are those of `identified`.
    """
    folder = identified(path, sha256, key).parent
    metrics: dict[str, Any] = read_json(folder / METRICS, network=dict)
    weights = build.read_weights(folder)
    if "network" not in weights:
        found = ", ".join(weights) or "none"
        raise UserError(f"{folder / WEIGHTS}: found networks {found}; expected one called network")
    return weights, metrics["network"]
