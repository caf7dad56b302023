"""Methods and tasks: files that are named in params.yaml and imported by that name."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from burn.errors import UserError


def recipe_model(package: str, file: str, attribute: str) -> Any:
    """The class `attribute` of burn/<package>/<file>.py, or None if there is no such file.

    Raises UserError if the file cannot be imported or has no such class.
    """
    if file not in available(package):
        return None
    try:
        return getattr(importlib.import_module(f"burn.{package}.{file}"), attribute)
    except Exception as error:  # somebody's own file can fail in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"burn/{package}/{file}.py: found {reason}; expected a class {attribute}"
        ) from error


def available(package: str) -> list[str]:
    """The methods or tasks there are: the files of burn/<package>/."""
    files = (Path(__file__).parent.parent / package).glob("*.py")
    return sorted(f.stem for f in files if f.stem not in ("__init__", "base"))


def load_code(path: str | Path, *expected: str):
    """The module in the file `path`: a method's or a task's code, as the DAG handed it over.

    Raises UserError if it cannot be imported, or has not all of the names `expected`.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; has the step that makes it run?")
    spec = importlib.util.spec_from_file_location(f"burn_code_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # somebody's own file can fail in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"{path}: found {reason}; expected code that can be imported") from error
    if missing := [name for name in expected if not hasattr(module, name)]:
        raise UserError(f"{path}: {missing[0]}: missing; expected here")
    return module
