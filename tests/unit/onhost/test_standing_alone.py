"""The programs need nothing but the Python of Debian 12 and 13."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.onhost.conftest import ONHOST

PACKAGES = {"onebox_release", "onebox_checks", "sent"}
FILES = [path for path in ONHOST.rglob("*") if path.is_file() and path.suffix in {"", ".py"}]
MODULES = sorted(
    str(path.relative_to(ONHOST).with_suffix("")).replace("/", ".")
    for path in FILES
    if path.suffix and not path.name.startswith("_")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ONHOST)))
def test_only_the_standard_library_is_imported(path: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add((node.module or "").partition(".")[0])
    assert imported <= sys.stdlib_module_names | PACKAGES


def python(version: str) -> str:
    found = [*(Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python")]
    return str(found[0]) if found else shutil.which(f"python{version}") or ""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_module_is_imported_without_a_warning(version: str) -> None:
    interpreter = python(version)
    if not interpreter:
        pytest.skip(f"there is no Python {version} on this machine")
    lines = [f"import {name}" for name in MODULES]
    program = f"import sys; sys.path.insert(0, {str(ONHOST)!r}); {'; '.join(lines)}"
    command = [interpreter, "-I", "-B", "-W", "error", "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
