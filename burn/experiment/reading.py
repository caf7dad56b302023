"""Reading params.yaml: YAML, then the schema, then what no schema can say (checks).

Whatever the file holds, what is wrong with it is told in one line of at most LONGEST characters.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from burn.errors import UserError
from burn.experiment.checks import cross_check
from burn.experiment.overlay import without_removed
from burn.experiment.schema import Params
from burn.experiment.wording import line, one_line

MOST = 100_000  # values in a file, each alias counted as what it stands for


def parse(raw: Any, where: str = "params.yaml") -> Params:
    """Validate a configuration already read from `where`. Raises UserError, one line."""
    if not isinstance(raw, dict):
        raise UserError(f"{where}: found {type(raw).__name__}; expected a mapping of sections")
    try:
        params = Params.model_validate(without_removed(raw))
        cross_check(params, where)
    except ValidationError as error:
        raise UserError(line(one_line(error, where))) from None
    except UserError as error:
        raise UserError(line(str(error))) from error.__cause__
    return params


def load(path: str | Path) -> Params:
    """Read and validate a params.yaml. Raises UserError."""
    return parse(read_yaml(path), str(path))


class _Loader(yaml.SafeLoader):
    """YAML, but a key that comes twice is an error: else the first would be lost in silence."""

    def get_single_node(self):
        node = super().get_single_node()
        if node is not None and _values(node, {}) > MOST:
            raise yaml.YAMLError(f"found more than {MOST} values")
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"found a key that is no word in line {_line_of(key)}")
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} twice in line {_line_of(key)}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _line_of(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _values(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many values `node` holds, aliases expanded."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        if known[id(node)] is None:
            raise yaml.YAMLError(f"found an alias of what it stands in, in line {_line_of(node)}")
        return known[id(node)]
    known[id(node)] = None
    inner = [n for pair in node.value for n in (pair if isinstance(pair, tuple) else (pair,))]
    known[id(node)] = 1 + sum(_values(n, known) for n in inner)
    return known[id(node)]


def read_yaml(path: str | Path, expected: str = "a params.yaml") -> Any:
    """What a YAML file says. Raises UserError, one line."""
    try:
        text = Path(path).read_text()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {expected}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(line(f"{path}: not YAML: {error}")) from None
    return loaded(text, str(path))


def loaded(text: str, where: str) -> Any:
    """What `text`, YAML, says. Raises UserError, one line."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise UserError(f"{where}: not YAML: nested too deeply") from None
    except Exception as error:  # a scalar that is none of its kind can fail in any way
        raise UserError(line(f"{where}: not YAML: {error}")) from None
