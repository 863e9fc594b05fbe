"""Mistakes in an inventory: the path, what was expected and found, and the fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails, PydanticCustomError

# What was expected, and the fix, by type of pydantic's error; {ge} and such are its fields.
MESSAGES = {
    "bool_parsing": ("True or False", "write True or False"),
    "bool_type": ("True or False", "write True or False"),
    "dict_type": ("a dict", 'write it like {"KEY": "value"}'),
    "greater_than_equal": ("{ge} or more", "write {ge} or more"),
    "int_from_float": ("a whole number", "write it without a fraction"),
    "int_parsing": ("a whole number", "write a number without quotes"),
    "int_type": ("a whole number", "write a number without quotes"),
    "less_than_equal": ("{le} or less", "write {le} or less"),
    "list_type": ("a list", "put it in square brackets"),
    "literal_error": ("{expected}", "write one of these"),
    "model_type": ("a dict of settings", "put its settings in braces"),
    "path_type": ("a path in quotes", "write a path in quotes"),
    "string_type": ("text in quotes", "put it in quotes"),
    "too_short": ("a list of {min_length} or more", "put at least {min_length} in it"),
}


@dataclass(frozen=True)
class Mistake:
    """A mistake in a setting or on a server, with its fix."""

    path: str
    """The setting, as in apps[0].domains[1], or what on the server is wrong."""
    expected: str
    found: str
    fix: str

    def __str__(self) -> str:
        return (
            f"{self.path}\n"
            f"  expected: {self.expected}\n"
            f"  found:    {self.found}\n"
            f"  fix:      {self.fix}"
        )


def invalid(expected: str, fix: str, *, found: str | None = None) -> PydanticCustomError:
    """Return the error for a validator to raise; `found` defaults to the input."""
    context = {"expected": expected, "fix": fix, "found": found}
    return PydanticCustomError("mistake", "{expected}", context)


def from_pydantic(error: ErrorDetails, model: type[BaseModel], root: str) -> Mistake:
    """Return the mistake for an error of pydantic's; `root` prefixes its path."""
    location = error["loc"]
    # A value that isn't a list of names may contain the secrets themselves.
    private = location[-1] in {"secrets", "install_secrets"} if location else False
    found = f"a {type(error['input']).__name__}" if private else _formatted(error["input"])
    path = path_of(location, root)
    context = error.get("ctx", {})
    match error["type"]:
        case "mistake":
            return Mistake(path, context["expected"], context["found"] or found, context["fix"])
        case "extra_forbidden":
            return _unknown_key(path, location, model)
        case "missing":
            name = location[-1]
            return Mistake(path, f"a value for `{name}`", "none", f"add `{name}`")
        case kind:
            fallback = error["msg"].removeprefix("Input should be "), "change the value"
            expected, fix = MESSAGES.get(kind, fallback)
            return Mistake(path, _filled(expected, context), found, _filled(fix, context))


def _filled(text: str, values: dict[str, Any]) -> str:
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", str(value))
    return text


def report(source: str, mistakes: Iterable[Mistake]) -> str:
    """Return the message that refuses an inventory with mistakes."""
    found = list(mistakes)
    count = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
    return "\n\n".join([f"{source} has {count}; no server was contacted.", *map(str, found)])


def path_of(location: tuple[str | int, ...], root: str = "") -> str:
    """Return a path as Python would write it, as in apps[0].domains[1]."""
    path = root
    for part in location:
        if part != "[key]":
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".") or "the inventory"


def _unknown_key(path: str, location: tuple[str | int, ...], model: type[BaseModel]) -> Mistake:
    key = str(location[-1])
    known = sorted(_fields_at(location[:-1], model))
    close = get_close_matches(key, known, n=1)
    fix = f"write `{close[0]}`" if close else "remove it"
    return Mistake(path, f"one of {', '.join(known)}", f"the unknown key `{key}`", fix)


def _fields_at(location: tuple[str | int, ...], model: type[BaseModel]) -> Iterable[str]:
    for part in location:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation)
    return model.model_fields


def _model_in(annotation: Any) -> type[BaseModel]:
    """Return the model that an annotation such as list[App] holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(_model_in(inner) for inner in annotation.__args__)


def _formatted(value: object) -> str:
    if value is None:
        return "none"
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
