"""docs/settings.md is what `python -m settings.reference` prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from settings import VM, PostgreSQL, Web, reference
from settings.app import App, Limits
from settings.reference import Group
from settings.server import Email

PAGE = Path(__file__).resolve().parents[3] / "docs/settings.md"


def test_the_page_is_what_the_models_say() -> None:
    assert PAGE.read_text() == reference.document(), (
        "docs/settings.md is out of date. To regenerate it, run:"
        " python -m settings.reference > docs/settings.md"
    )


def test_every_setting_has_a_row() -> None:
    text = reference.document()
    for _, _, model in reference.groups():
        for name in model.model_fields:
            assert f"\n| `{name}` | " in text, f"{model.__name__}.{name}"


def test_every_link_leads_to_a_heading() -> None:
    text = reference.document()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = [reference.anchor(heading) for heading in headings]
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= set(anchors)


@pytest.mark.parametrize(
    ("model", "name", "kind"),
    [
        (VM, "address", "host name or IP address"),
        (VM, "ssh_key", "path of a file, or None"),
        (VM, "tls", "dict ([tls](#tls))"),
        (VM, "take_over", 'list of `"nginx"`, `"postgresql"` or `"firewall"`'),
        (PostgreSQL, "max_connections", "integer (10 to 1,000)"),
        (Email, "to", "list of e-mail addresses"),
        (App, "processes", "list of dicts ([processes](#processes))"),
        (App, "env", "dict of strings by variable name"),
        (App, "limits", "dict ([limits](#limits)), or None"),
        (App, "build", "True or False"),
        (Web, "max_requests", "integer (0 or more)"),
    ],
)
def test_types_are_plain_words(model: type[BaseModel], name: str, kind: str) -> None:
    assert reference.kind(Group("", 2, model), name) == kind


@pytest.mark.parametrize(
    ("model", "name", "default"),
    [
        (VM, "address", "**required**"),
        (VM, "ssh_user", '`"root"`'),
        (VM, "ssh_key", "`None`"),
        (VM, "notify", "`{}`"),
        (App, "secrets", "`[]`"),
        (App, "build", "`False`"),
        (
            App,
            "database_env",
            '`{"DATABASE_URL": "postgresql://{role}@/{name}?host=/run/postgresql"}`',
        ),
        (Web, "max_requests", "`100_000`"),
        (Limits, "burst", "`1000`"),
    ],
)
def test_defaults_are_written_as_in_an_inventory(
    model: type[BaseModel], name: str, default: str
) -> None:
    assert reference.default(Group("", 2, model), name) == default
