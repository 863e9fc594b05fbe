"""Mistakes in an inventory: each tells its path, what was expected, what was found, the cure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails, PydanticCustomError

# How pydantic's errors are told: what was expected, and the cure. {ge} and such are its own.
WORDS = {
    "bool_parsing": ("True or False", "write True or False"),
    "bool_type": ("True or False", "write True or False"),
    "dict_type": ("a dict", 'write it as in {"KEY": "value"}'),
    "greater_than_equal": ("{ge} or more", "write a number from {ge} on"),
    "int_from_float": ("a whole number", "write it without a fraction"),
    "int_parsing": ("a whole number", "write a number without quotes"),
    "int_type": ("a whole number", "write a number without quotes"),
    "less_than_equal": ("{le} or less", "write a number up to {le}"),
    "list_type": ("a list", "put it in square brackets"),
    "literal_error": ("{expected}", "write one of these"),
    "model_type": ("a dict of settings", "put its settings in braces"),
    "path_type": ("a path in quotes", "write a path in quotes"),
    "string_type": ("text in quotes", "put it in quotes"),
    "too_short": ("a list of {min_length} or more", "put at least {min_length} in it"),
}


@dataclass(frozen=True)
class Mistake:
    """One mistake, worded for a person who edits an inventory."""

    path: str
    expected: str
    found: str
    mend: str

    def __str__(self) -> str:
        return (
            f"{self.path}\n"
            f"  expected: {self.expected}\n"
            f"  found:    {self.found}\n"
            f"  to mend:  {self.mend}"
        )


def wrong(expected: str, mend: str, *, found: str | None = None) -> PydanticCustomError:
    """Return the error that a validator raises for a mistake; `found` defaults to the input."""
    context = {"expected": expected, "mend": mend, "found": found}
    return PydanticCustomError("mistake", "{expected}", context)


def from_pydantic(error: ErrorDetails, model: type[BaseModel], root: str) -> Mistake:
    """Word one error of pydantic's; `root` is put before its path."""
    location = error["loc"]
    # Who gives secrets in another shape than a list of names may have written their values there.
    private = location[-1] in {"secrets", "install_secrets"} if location else False
    found = f"a {type(error['input']).__name__}" if private else _shown(error["input"])
    path = path_of(location, root)
    context = error.get("ctx", {})
    match error["type"]:
        case "mistake":
            return Mistake(path, context["expected"], context["found"] or found, context["mend"])
        case "extra_forbidden":
            return _unknown_key(path, location, model)
        case "missing":
            name = location[-1]
            return Mistake(path, f"a value for `{name}`", "none", f"add `{name}`")
        case kind:
            fallback = error["msg"].removeprefix("Input should be "), "change the value"
            expected, mend = WORDS.get(kind, fallback)
            return Mistake(path, _filled(expected, context), found, _filled(mend, context))


def _filled(text: str, values: dict[str, Any]) -> str:
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", str(value))
    return text


def report(source: str, mistakes: Iterable[Mistake]) -> str:
    """Return the message that a person sees for an inventory that can't be used."""
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
    mend = f"write `{close[0]}`" if close else "take it out"
    return Mistake(path, f"one of {', '.join(known)}", f"the unknown key `{key}`", mend)


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


def _shown(value: object) -> str:
    if value is None:
        return "none"
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
