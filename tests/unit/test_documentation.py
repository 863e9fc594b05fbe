"""The documentation is true: names of tests and files, settings, links, examples, commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import pytest
from invoke.tasks import Task
from pydantic import BaseModel

import fabfile
from settings import VM, servers
from settings.app import App
from settings.reference import anchor

PROJECT = Path(__file__).resolve().parent.parent.parent
README = PROJECT / "README.md"
PAGES = [README, PROJECT / "app/README.md", *sorted((PROJECT / "docs").glob("*.md"))]
README_BYTES = 6144
NAMED = re.compile(
    r"`((?:tests|bench|docs|app|lab|onhost|settings|preflight|commands|tasks|operations|templates)"
    r"/[^`: ]*)(?:::(\w+))?`"
)
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)")
BLOCK = re.compile(r"^ *```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
FRAGMENT = re.compile(r'`("\w+": [^`]+)`')
DOTTED = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)`")
COMMAND = re.compile(r"\b(fab|make) ([a-z][a-z-]*)")


def name_of(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def named(page: Path) -> list[tuple[str, str]]:
    return NAMED.findall(page.read_text())


def test_the_readme_and_the_proof_name_files() -> None:
    assert named(README)
    assert named(PROJECT / "docs/proof.md")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_and_test_that_is_named_is_there(page: Path) -> None:
    for path, function in named(page):
        assert (PROJECT / path).exists(), path
        if function:
            tree = ast.parse((PROJECT / path).read_text())
            functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert function in functions, f"{path}::{function}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, fragment in LINK.findall(page.read_text()):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if fragment:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert fragment in map(anchor, headings), f"{path}#{fragment}"


def test_the_index_lists_every_page() -> None:
    linked = {path for path, _ in LINK.findall((PROJECT / "docs/README.md").read_text())}
    pages = {path.name for path in (PROJECT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= linked


def test_the_readme_names_every_folder() -> None:
    text = README.read_text()
    for path in PROJECT.iterdir():
        if path.is_dir() and not path.name.startswith((".", "__")):
            assert f"`{path.name}/`" in text, path.name


def test_the_readme_is_short() -> None:
    assert README.stat().st_size <= README_BYTES


def test_every_command_that_is_named_is_there() -> None:
    tasks = {value.name for value in vars(fabfile).values() if isinstance(value, Task)}
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        code = "\n".join(CODE.findall(page.read_text()))
        for program, command in COMMAND.findall(code):
            known = tasks if program == "fab" else targets
            assert command in known, f"{name_of(page)}: {program} {command}"


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


def examples() -> Iterator[tuple[str, str]]:
    """Yield the page and the text of each example of an inventory, whole or in part."""
    for page in PAGES:
        text = page.read_text()
        for example in chain(BLOCK.findall(text), FRAGMENT.findall(text)):
            yield name_of(page), example


def dicts(example: str) -> Iterator[ast.Dict]:
    """Yield the dicts of settings in an example: what servers() gets, or the example's own keys."""
    try:
        tree: ast.AST = ast.parse(dedent(example))
    except SyntaxError:
        tree = ast.parse(f"{{{example}\n}}", mode="eval")
        assert isinstance(tree, ast.Expression)
        assert isinstance(tree.body, ast.Dict)
        yield tree.body
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "servers":
            yield from (each for each in node.args if isinstance(each, ast.Dict))


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation such as `list[App]` or `Email | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]


def unknown(node: ast.AST, models: list[type[BaseModel]]) -> list[str]:
    """Return the keys of an example that none of the models has."""
    if isinstance(node, ast.List):
        return [key for each in node.elts for key in unknown(each, models)]
    if not isinstance(node, ast.Dict) or not models:
        return []
    found: list[str] = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:  # a dict that the example takes in by its name
            continue
        name = ast.literal_eval(key)
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        inner = [model for field in fields for model in models_in(field.annotation)]
        found += unknown(value, inner) if fields else [name]
    return found


@pytest.mark.parametrize(
    ("page", "example"),
    [*examples()],
    ids=[f"{page}-{n}" for n, (page, _) in enumerate(examples())],
)
def test_examples_have_no_setting_that_is_not_there(page: str, example: str) -> None:
    found = [*dicts(example)]
    assert found, f"{page} has an example without settings"
    assert [key for each in found for key in unknown(each, [VM, App])] == []


def test_examples_are_found_and_a_wrong_one_is_seen() -> None:
    assert {"docs/ci.md", "docs/checks.md", "docs/settings.md"} <= {page for page, _ in examples()}
    [wrong] = dicts('"notify": {"email": {"receiver": "you@example.com"}}, "webb": {}')
    assert unknown(wrong, [VM, App]) == ["receiver", "webb"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_that_are_named_by_their_path_are_there(page: Path) -> None:
    for path in DOTTED.findall(page.read_text()):
        first, *rest = path.split(".")
        models: list[type[BaseModel]] = [VM, App]
        is_file = rest[-1] == "py" or "env" in rest
        if is_file or all(first not in model.model_fields for model in models):
            continue
        for name in path.split("."):
            fields = [model.model_fields[name] for model in models if name in model.model_fields]
            assert fields, path
            models = [inner for field in fields for inner in models_in(field.annotation)]


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


def test_the_reading_path_is_short() -> None:
    """A stranger reads it in an hour: docs/architecture.md promises under 1,500 lines."""
    page = (PROJECT / "docs/architecture.md").read_text()
    table = page.partition("## Reading path")[2].partition("\nNext:")[0]
    files = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(files) > 10
    assert sum(len((PROJECT / file).read_text().splitlines()) for file in files) <= 1500
