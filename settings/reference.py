"""Print docs/settings.md: every setting with its type, default and description.

Usage: python -m settings.reference > docs/settings.md
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from settings import values
from settings.app import App
from settings.server import VM
from settings.source import Module, Project

INTRODUCTION = """\
<!-- Generated from settings/server.py and settings/app.py; to regenerate, run:
     python -m settings.reference > docs/settings.md -->

# Settings

An inventory passes one dict per server to `servers()`. [Server](#server) lists the keys of that
dict, [App](#app) the keys of each entry in its `apps`. Unknown keys and invalid values are reported
before connecting, each with its fix. Paths are relative to the inventory's folder.

```python
hosts = servers(
    {
        "address": "203.0.113.10",
        "tls": {"email": "you@example.com"},
        "apps": [
            {
                "name": "links",
                "source": "app",
                "module": "links.main:app",
                "domains": ["links.example.com"],
                "web": {"workers": 4},
            },
        ],
    },
    beside=__file__,
)
```
"""
HEAD = "| Setting | Type | Default | Description |\n|---|---|---|---|"
REQUIRED = "**required**"
# What users call a kind of value: one, and several where a setting is a list or dict of them.
KINDS: list[tuple[Any, str, str]] = [
    (values.AcmeDirectory, "name or URL", ""),
    (values.Address, "host name or IP address", ""),
    (values.DebianPackage, "package name", "package names"),
    (values.Domain, "domain name", "domain names"),
    (values.EnvironmentName, "name", ""),
    (values.ExistingFile, "path of a file", ""),
    (values.EmailAddress, "e-mail address", "e-mail addresses"),
    (values.Name, "name", ""),
    (values.OneLine, "string", "strings"),
    (values.ParameterName, "parameter name", "parameter names"),
    (values.ProcessName, "name", ""),
    (values.PublicKey, "public key", "public keys"),
    (values.RelativeFolder, "path of a folder", ""),
    (values.Schedule, "systemd calendar event", ""),
    (values.SecretByName, "name of a secret", "names of secrets"),
    (values.ServerSecret, "name of a secret", ""),
    (values.UrlPath, "URL path", ""),
    (values.Variable, "variable name", "variable names"),
    (values.UrlOrSecret, "URL or name of a secret", ""),
    (Module, "Python module and attribute", ""),
    (Project, "path of a folder or git URL", ""),
    (bool, "True or False", ""),
]


class Group(NamedTuple):
    """A model, and the heading under which its settings are listed."""

    title: str
    level: int
    model: type[BaseModel]


def document() -> str:
    """Return the whole page."""
    sections = [section(group) for group in groups()]
    return "\n".join([INTRODUCTION, *sections]).rstrip() + "\n"


def groups() -> Iterator[Group]:
    """Yield the models in the order in which a user meets them."""
    for title, model in (("Server", VM), ("App", App)):
        yield Group(title, 2, model)
        yield from _inner(model, "")


def section(group: Group) -> str:
    """Return the heading, description and table of a model."""
    rows = [
        f"| `{name}` | {kind(group, name)} | {default(group, name)} | {_cell(description(field))} |"
        for name, field in group.model.model_fields.items()
    ]
    about = _prose(inspect.getdoc(group.model) or "")
    return "\n".join([f"{'#' * group.level} {group.title}\n", f"{about}\n", HEAD, *rows, ""])


def kind(group: Group, name: str) -> str:
    """Return a setting's type in plain words."""
    hint = get_type_hints(group.model, include_extras=True)[name]
    return _kind(hint, [*group.model.model_fields[name].metadata], _titles())


def default(group: Group, name: str) -> str:
    """Return a setting's default as a user would write it in an inventory."""
    field = group.model.model_fields[name]
    if field.is_required():
        return REQUIRED
    value = field.get_default(call_default_factory=True)
    return f"`{_written(value)}`".replace("|", "\\|")


def description(field: FieldInfo) -> str:
    """Return what the docstring below a setting says."""
    return _prose(field.description or "")


def anchor(title: str) -> str:
    """Return the fragment that GitHub gives a heading."""
    kept = [c for c in title.lower() if c.isalnum() or c in " -_"]
    return "".join(kept).replace(" ", "-")


def _link(title: str) -> str:
    return f"[{title}](#{anchor(title)})"


def _inner(model: type[BaseModel], prefix: str) -> Iterator[Group]:
    for name, field in model.model_fields.items():
        inner = _model(field.annotation)
        if inner and inner is not App:
            yield Group(f"{prefix}{name}", 3, inner)
            yield from _inner(inner, f"{prefix}{name}.")


def _titles() -> dict[type[BaseModel], str]:
    return {group.model: group.title for group in groups()}


def _model(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation such as `list[App]` or `Email | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model, get_args(annotation))), None)


def _kind(hint: Any, bounds: Iterable[Any], titles: dict[type[BaseModel], str]) -> str:
    if named := next((one for annotation, one, _ in KINDS if hint == annotation), ""):
        return named
    inner = get_args(hint)
    match get_origin(hint):
        case origin if origin is Annotated:
            return _kind(inner[0], bounds, titles)
        case types.UnionType | typing.Union:
            first, *_ = [each for each in inner if each is not type(None)]
            return f"{_kind(first, bounds, titles)}, or None"
        case origin if origin is list:
            return f"list of {_several(inner[0], titles)}"
        case origin if origin is dict:
            return f"dict of {_several(inner[1], titles)} by {_kind(inner[0], (), titles)}"
        case origin if origin is Literal:
            return _alternatives(inner)
    if hint in titles:
        return f"dict ({_link(titles[hint])})"
    if hint is int:
        return _integer(bounds)
    raise TypeError(f"No words for {hint}: add it to KINDS in {__name__}")


def _several(hint: Any, titles: dict[type[BaseModel], str]) -> str:
    if named := next((several for annotation, _, several in KINDS if hint == annotation), ""):
        return named
    if hint in titles:
        return f"dicts ({_link(titles[hint])})"
    return _kind(hint, (), titles)


def _alternatives(options: Iterable[Any]) -> str:
    *first, last = (f"`{_written(option)}`" for option in options)
    return f"{', '.join(first)} or {last}" if first else last


def _integer(bounds: Iterable[Any]) -> str:
    least = next((bound.ge for bound in bounds if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in bounds if isinstance(bound, Le)), None)
    if most is not None:
        return f"integer ({least} to {most:,})"
    return f"integer ({least} or more)" if least is not None else "integer"


def _written(value: object) -> str:
    """Return a value in Python, with double quotes as the inventory has them."""
    match value:
        case str():
            return f'"{value}"'
        case bool() | None:
            return repr(value)
        case int():
            return f"{value:_}" if value >= 10_000 else str(value)
        case BaseModel():
            return "{}"  # an empty dict means the defaults of the group
        case list():
            return f"[{', '.join(map(_written, value))}]"
        case dict():
            return "{" + ", ".join(f"{_written(k)}: {_written(v)}" for k, v in value.items()) + "}"
    raise TypeError(f"No way to write {value!r} in an inventory")


def _prose(text: str) -> str:
    """Return a docstring's text as Markdown, with its paragraphs kept."""
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n\n".join(paragraphs)


def _cell(text: str) -> str:
    return text.replace("\n\n", "<br>").replace("|", "\\|")


if __name__ == "__main__":
    print(document(), end="")
