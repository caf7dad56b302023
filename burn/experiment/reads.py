"""What each step reads of params.yaml: its node depends on this, and on nothing more of it.

Snakemake's `params:` and dvc.yaml's `params:` say the same (a test compares them).
"""

import json
from typing import Any

from pydantic import BaseModel

from burn.errors import UserError
from burn.experiment.schema import Params

# What each step may read: a short name for the step's own use, and the key in params.yaml.
READS = {
    "listing": {"data": "data"},
    "prepare": {
        "root": "data.root",
        "download": "data.download",
        "spec": "data.sets.{dataset}",
    },
    "teacher": {"teacher": "teacher", "augment": "augment"},
    "pretrain": {
        "student": "student",
        "train": "train",
        "augment": "augment",
        "recipe": "methods.{family}.{method}.recipe",
        "epochs": "methods.{family}.{method}.epochs.{stage}",
    },
    "protocol": {"protocol": "protocols.{protocol}", "options": "tasks.{task}"},
    "evaluate": {},
    "cost": {"size": "augment.size", "seeds": "seeds", "methods": "methods"},
    "export": {"size": "augment.size"},
    "report": {
        "seeds": "seeds",
        "pretrain_on": "pretrain_on",
        "methods": "methods",
        "protocols": "protocols",
        "report": "report",
    },
}


def family_of(params: Params, method: str) -> str:
    """The section of `methods` that holds `method`. Raises UserError."""
    for family in ("standalone", "distilled"):
        if method in getattr(params.methods, family):
            return family
    known = [*params.methods.standalone, *params.methods.distilled]
    raise UserError(f"--method: found {method!r}; allowed: {', '.join(known)}")


def settings(params: Params, step: str, **names: str) -> dict[str, Any]:
    """What `step` may read, by short name; nothing else of params.yaml reaches it."""
    if step == "pretrain":
        names["family"] = family_of(params, names["method"])
    if step == "protocol":
        if names["protocol"] not in params.protocols:
            raise UserError(
                f"--protocol: found {names['protocol']!r}; allowed: {', '.join(params.protocols)}"
            )
        names["task"] = params.protocols[names["protocol"]].task
    return {short: _get(params, key.format(**names)) for short, key in READS[step].items()}


def plain(value: Any) -> Any:
    """A step's settings, or a section, as plain JSON data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def text(value: Any) -> str:
    """Canonical JSON: what Snakemake compares, and what a checkpoint is bound to."""
    return json.dumps(plain(value), sort_keys=True)


def _get(params: Params, key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value
