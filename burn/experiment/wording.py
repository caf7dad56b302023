"""What pydantic found wrong, in one line that names file, key, what was found, what is allowed."""

from typing import Any

from pydantic import BaseModel, ValidationError

from burn.experiment.schema import Params

LONGEST = 300  # characters of a message about params.yaml
SHOWN = 80  # characters of a value in it


def line(message: str) -> str:
    """`message` as one line; of a long one the middle is left out."""
    message = " ".join(message.split())
    if len(message) > LONGEST:
        half = (LONGEST - 5) // 2
        message = f"{message[:half]} ... {message[-half:]}"
    return message


def shown(value: Any) -> str:
    """A value as messages show it: its beginning."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def one_line(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    loc = [p if isinstance(p, str) else shown(p) for p in first["loc"] if p != "[key]"]
    key = ".".join(loc)
    if first["type"] == "extra_forbidden":
        keys = ", ".join(fields_at(Params, loc[:-1]))
        return f"{where}: {key}: unknown key; allowed: {keys}"
    if first["type"] == "missing":
        return f"{where}: {key}: missing; expected here"
    return f"{where}: {key}: found {shown(first['input'])}; allowed: {allowed(first)}"


def allowed(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    for start in ("Input should be ", "String should "):
        message = message.removeprefix(start)
    return message


def fields_at(model: Any, loc: list[str]) -> list[str]:
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation
        else:
            model = getattr(model, "__args__", (None, None))[-1]
    return list(model.model_fields) if hasattr(model, "model_fields") else []
