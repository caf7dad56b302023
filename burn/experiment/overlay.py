"""Overlays on params.yaml (presets/*.yaml): merged in memory, or written into the file."""

import copy
import io
import sys
from pathlib import Path
from typing import Any

from burn.artifacts import write_text
from burn.errors import UserError

# Where null means "leave this entry out"; elsewhere it is a value like any other.
REMOVABLE = ("methods.standalone", "methods.distilled", "protocols", "tasks", "data.sets",
             "teacher.recipe")  # fmt: skip
ON = {"tasks": "task", "data.sets": "dataset"}  # what a protocol calls them


def merge(base: dict, overlay: dict) -> dict:
    """Overlay `overlay` on `base`, key by key; lists and scalars replace, null removes."""
    out = copy.deepcopy(base)
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def without_removed(raw: dict) -> dict:
    """An entry set to null by an overlay (a method, a data set) is left out, and with a data set or
    a task the protocols on it."""
    raw = copy.deepcopy(raw)
    for path in REMOVABLE:
        table = _table(raw, path)
        gone = [k for k, v in table.items() if v is None]
        for name in gone:
            del table[name]
        if path in ON:
            for name in [k for k, v in _table(raw, "protocols").items()
                         if isinstance(v, dict) and v.get(ON[path]) in gone]:  # fmt: skip
                del raw["protocols"][name]
    return raw


def check(base: dict, overlays: dict[str, Any], run_said: bool = False) -> None:
    """Tell of what overlays say in vain: a null that leaves out nothing is said on stderr.

    Args:
        base: params.yaml as it stands. overlays: by file, in the order they are laid on it.
        run_said: whether `run` is said elsewhere, so that it does not matter what overlays say.

    Raises UserError if two of them name a `run` each, and so the folder of the results.
    """
    runs: dict[str, str] = {}
    for where, changes in overlays.items():
        if not isinstance(changes, dict):
            continue
        missing = [f"{at}.{name}" for at in REMOVABLE for name, value in _table(changes, at).items()
                   if value is None and name not in _table(base, at)]  # fmt: skip
        if missing:
            words = f"{missing[0]}: found null, but there is no such entry to leave out"
            more = f" (entries: {len(missing)})" if len(missing) > 1 else ""
            print(f"warning: {where}: {words}{more}", file=sys.stderr)
        if "run" in changes:
            runs.setdefault(str(changes["run"]), where)
        base = merge(base, changes)
    if len(runs) > 1 and not run_said:
        (one, first), (two, second) = list(runs.items())[:2]
        raise UserError(
            f"{second}: run: found {two!r}, and {one!r} in {first}; allowed: one overlay that says "
            "it, or --config run=NAME"
        )


def _table(raw: Any, at: str) -> dict:
    for key in at.split("."):
        raw = raw.get(key) if isinstance(raw, dict) else None
    return raw if isinstance(raw, dict) else {}


def apply(params: str | Path, overlay: str | Path) -> None:
    """Merge `overlay` into the file `params`, in place; null removes an entry.

    Raises UserError, and changes nothing, if the outcome is no valid params.yaml.
    """
    from ruamel.yaml import YAML

    from burn.experiment.reading import parse, read_yaml

    changes = read_yaml(overlay, "an overlay (see presets/)") or {}
    if not isinstance(changes, dict):
        kind = type(changes).__name__
        raise UserError(f"{overlay}: found {kind}; expected keys of params.yaml")
    base = read_yaml(params)
    outcome = parse(merge(base, changes), f"{params} with {overlay}")
    check(base, {str(overlay): changes})
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
