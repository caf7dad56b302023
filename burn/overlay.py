"""Presets under DVC: an overlay written into params.yaml, its comments kept."""

import io
from pathlib import Path

from ruamel.yaml import YAML

from burn.artifacts import write_text
from burn.params import REMOVABLE, ParamsError, merge, parse, read_yaml


def apply(params: str | Path, overlay: str | Path) -> None:
    """Merge `overlay` into the file `params`, in place; null removes an entry.

    Raises ParamsError, and changes nothing, if the outcome is no valid params.yaml.
    """
    changes = read_yaml(overlay, "an overlay (see presets/)") or {}
    if not isinstance(changes, dict):
        found = type(changes).__name__
        raise ParamsError(f"{overlay}: found {found}; expected keys of params.yaml")
    outcome = parse(merge(read_yaml(params), changes), f"{params} with {overlay}")
    writer = YAML()
    writer.width, writer.preserve_quotes = 200, True
    writer.representer.add_representer(type(None), _null)
    tree = writer.load(Path(params).read_text())
    _merge_into(tree, changes)
    for name in [name for name in tree["protocols"] if name not in outcome.protocols]:
        del tree["protocols"][name]  # on a task or data set that was left out
    content = io.StringIO()
    writer.dump(tree, content)
    write_text(params, content.getvalue())


def _null(representer, _):
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _merge_into(tree, changes: dict, at: str = "") -> None:
    for key, value in changes.items():
        if value is None and at in REMOVABLE:
            tree.pop(key, None)
        elif isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge_into(tree[key], value, f"{at}.{key}".lstrip("."))
            if not tree[key]:  # its comment would part the key from the {}
                tree[key] = {}
        else:
            tree[key] = value
