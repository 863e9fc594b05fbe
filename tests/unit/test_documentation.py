"""What the documents say is so: names of tests and files, settings, examples."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from settings import VM, servers
from settings.app import App

PROJECT = Path(__file__).resolve().parent.parent.parent
NAMED = re.compile(
    r"`((?:tests|bench|docs|app|lab|onhost|tasks|operations|templates)/[^`: ]*)(?:::(\w+))?`"
)


def named(document: str) -> list[tuple[str, str]]:
    return NAMED.findall((PROJECT / document).read_text())


@pytest.mark.parametrize("document", ["docs/proof.md", "README.md"])
def test_every_file_and_test_that_is_named_is_there(document: str) -> None:
    assert named(document)
    for path, function in named(document):
        assert (PROJECT / path).exists(), path
        if function:
            tree = ast.parse((PROJECT / path).read_text())
            functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert function in functions, f"{path}::{function}"


def test_the_readme_names_every_folder() -> None:
    text = (PROJECT / "README.md").read_text()
    for path in PROJECT.iterdir():
        if path.is_dir() and not path.name.startswith((".", "__")):
            assert f"`{path.name}/`" in text, path.name


def test_every_setting_is_documented_beside_its_field() -> None:
    models: list[type[BaseModel]] = [VM, App]
    seen: set[type[BaseModel]] = set()
    while models:
        model = models.pop()
        seen.add(model)
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            inner = [*getattr(field.annotation, "__args__", ()), field.annotation]
            models += [m for m in inner if hasattr(m, "model_fields") and m not in seen]


def test_the_settings_that_the_readme_names_are_there() -> None:
    fields = {*App.model_fields, *VM.model_fields}
    assert {"env", "secrets", "migrate", "processes"} <= fields


def test_the_example_of_secrets_reads_as_an_inventory_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets.env").write_text((PROJECT / "secrets.env.example").read_text())
    monkeypatch.delenv("LINKS_STRIPE_KEY", raising=False)
    app = {
        "name": "links",
        "source": str(PROJECT / "app"),
        "module": "links.main:app",
        "domains": ["links.example.com"],
        "secrets": ["STRIPE_KEY"],
    }
    vm = {"address": "203.0.113.10", "apps": [app]}
    [(_, data)] = servers(vm, beside=str(tmp_path / "inventory.py"))
    [secret] = data["vm"].apps[0].secrets
    assert secret.value.get_secret_value() == "sk_live_..."
