"""Presets under DVC: an overlay written into params.yaml, its comments kept."""

from pathlib import Path

import yaml
from ruamel.yaml import YAML

from burn.artifacts import write_text
from burn.params import ParamsError, merge, parse


def apply(params: str | Path, overlay: str | Path) -> None:
    """Merge `overlay` into the file `params`, in place; null removes an entry.

    Raises ParamsError, and changes nothing, if the outcome is no valid params.yaml.
    """
    try:
        changes = yaml.safe_load(Path(overlay).read_text()) or {}
    except FileNotFoundError:
        raise ParamsError(f"{overlay}: no such file; expected an overlay (see presets/)") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{overlay}: not YAML: {' '.join(str(error).split())}") from None
    parse(merge(yaml.safe_load(Path(params).read_text()), changes), f"{params} with {overlay}")
    writer = YAML()
    writer.width = 200
    tree = writer.load(Path(params).read_text())
    _merge_into(tree, changes)
    temporary = Path(f"{params}.tmp")
    with open(temporary, "w") as file:
        writer.dump(tree, file)
    content = temporary.read_text()
    temporary.unlink()
    write_text(params, content)


# Where null means "leave this entry out"; elsewhere it is a value like any other.
REMOVABLE = ("methods.standalone", "methods.distilled", "protocols", "tasks", "data.sets")


def _merge_into(tree, changes: dict, at: str = "") -> None:
    for key, value in changes.items():
        if value is None and at in REMOVABLE:
            tree.pop(key, None)
        elif isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge_into(tree[key], value, f"{at}.{key}".lstrip("."))
        else:
            tree[key] = value
