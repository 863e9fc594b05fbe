"""What a user reads is in the field's terms: no word that the project once made up for itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
# What a user reads: pages whole, programs by their help and messages.
ROOMS = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    "app/README.md",
    "secrets.env.example",
    *(str(path.relative_to(PROJECT)) for path in sorted((PROJECT / "docs").glob("*.md"))),
    ".github",
    "fabfile.py",
    "lab/cli.py",
    "lab/demo.py",
    "commands",
    "operations",
    "onhost",
    "preflight",
    "settings",
    "tasks",
    "templates",
]
# Not rewritten yet. This list only gets shorter.
PENDING: set[str] = set()
# Each with the words that replace it.
RETIRED = {
    r"tell(s|ing)?|told|untold": "report, print, log, notify",
    r"mend(s|ed|ing)?|cure(s|d)?": "fix, repair",
    r"put(s|ting)? back|back to be put": "roll back",
    r"(go|goes|going|gone|went) back": "roll back",
    r"anew": "again, rebuild",
    r"the (release|one) before": "the previous release",
    r"(a )?look(s|ed|ing)? at|see(s|n)? that": "check, verify",
    r"(with )?other eyes": "independently",
    r"(came|comes|come) of (it|them|a|the)": "the result",
    r"moving house": "upgrades and migration",
    r"visitors?": "clients, users, requests",
    r"(is|are) called so": "the name of",
    r"(up to )?so many( more)?": "a number",
    r"nobody (wanted|watches)": "unattended, unrecognised",
    r"can do little": "restricted deploy key",
    r"what a person changed|left to a person": "drift, left to you",
    r"unwell": "unhealthy, down",
    r"nothing is good": "say it without a negation",
}
# A result in histories and messages, and a fault point: programs read them.
MACHINE_READABLE = {"put back", "made-anew"}
SUFFIXES = {".py", ".yml", ".j2"}
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def files(room: str) -> Iterator[Path]:
    path = PROJECT / room
    if path.is_dir():
        yield from (each for each in sorted(path.rglob("*")) if each.suffix in SUFFIXES)
    else:
        yield path


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that a user reads, each with the line where it begins."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from strings(ast.parse(text), docstrings=path.name == "fabfile.py")
    elif path.name == "Makefile":
        for number, line in enumerate(text.splitlines(), 1):
            yield number, line.partition("## ")[2]
    else:  # a page, but not the names in it
        yield 1, CODE.sub(lambda code: "\n" * code[0].count("\n"), text)


def strings(tree: ast.Module, *, docstrings: bool) -> Iterator[tuple[int, str]]:
    """Yield a program's strings. Docstrings are for readers of the code, if not shown as help."""
    unseen = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and not docstrings
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) not in unseen and node.value not in MACHINE_READABLE:
            yield node.lineno, node.value


def retired(text: str) -> Iterator[tuple[int, str]]:
    """Yield the retired words of a text: the line, counted from 0, and what to write instead."""
    for pattern, instead in RETIRED.items():
        spaced = pattern.replace(" ", r"\s+")
        for found in re.finditer(rf"\b({spaced})\b", text, re.IGNORECASE):
            words = " ".join(found[0].split())
            yield text.count("\n", 0, found.start()), f"{words!r}, instead of: {instead}"


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in PENDING])
def test_no_retired_words(room: str) -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{begin + line}: {what}"
        for path in files(room)
        for begin, text in texts(path)
        for line, what in retired(text)
    ]
    assert found == []


def test_pending_rooms_are_rooms() -> None:
    assert set(ROOMS) >= PENDING


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Why is told above.", "told"),
        ("It was put\nback.", "put back"),
        ("Go back to the one before", "Go back"),
        ("See that the apps answer", "See that"),
        ("Look at a server", "Look at"),
        ("to mend: nothing", "mend"),
    ],
)
def test_retired_words_are_found(text: str, word: str) -> None:
    assert word in [what.split("'")[1] for _, what in retired(text)]


def test_help_and_messages_are_read_and_docstrings_are_not(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text('"""Tells."""\ndef run():\n    """Mends."""\n    print(f"{1} told")\n')
    assert [*texts(path)] == [(4, " told")]
    path = path.rename(tmp_path / "fabfile.py")
    assert {text for _, text in texts(path)} == {"Tells.", "Mends.", " told"}
