"""What pydantic found wrong, in one line that names file, key, what was found, what is allowed."""

from typing import Any

from pydantic import BaseModel, ValidationError

from burn.experiment.schema import Params


def one_line(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    loc = [str(p) for p in first["loc"] if p != "[key]"]
    key = ".".join(loc)
    if first["type"] == "extra_forbidden":
        keys = ", ".join(fields_at(Params, loc[:-1]))
        return f"{where}: {key}: unknown key; allowed: {keys}"
    if first["type"] == "missing":
        return f"{where}: {key}: missing; expected here"
    return f"{where}: {key}: found {first['input']!r}; allowed: {allowed(first)}"


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
