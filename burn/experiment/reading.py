"""Reading params.yaml: YAML, then the schema, then what no schema can say (checks)."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from burn.errors import UserError
from burn.experiment.checks import cross_check
from burn.experiment.overlay import without_removed
from burn.experiment.schema import Params
from burn.experiment.wording import one_line


def parse(raw: Any, where: str = "params.yaml") -> Params:
    """Validate a configuration already read from `where`. Raises UserError, one line."""
    if not isinstance(raw, dict):
        raise UserError(f"{where}: found {type(raw).__name__}; expected a mapping of sections")
    try:
        params = Params.model_validate(without_removed(raw))
    except ValidationError as error:
        raise UserError(one_line(error, where)) from None
    cross_check(params, where)
    return params


def load(path: str | Path) -> Params:
    """Read and validate a params.yaml. Raises UserError."""
    return parse(read_yaml(path), str(path))


class _Loader(yaml.SafeLoader):
    """YAML, but a key that comes twice is an error: else the first would be lost in silence."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} twice in line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path, expected: str = "a params.yaml") -> Any:
    """What a YAML file says. Raises UserError, one line."""
    try:
        return yaml.load(Path(path).read_text(), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {expected}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
