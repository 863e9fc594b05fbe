"""Imports go down only: the layers of pyproject.toml, and the picture in CONTRIBUTING.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CONFIGURATION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]


def test_imports_go_down_only() -> None:
    result = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "onhost")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_package_is_linted() -> None:
    folders = [*PROJECT.iterdir(), *(PROJECT / "onhost").iterdir()]
    packages = {path.name for path in folders if (path / "__init__.py").exists()}
    assert packages == set(CONFIGURATION["root_packages"])


def test_the_picture_shows_the_layers_in_order() -> None:
    picture = (PROJECT / "CONTRIBUTING.md").read_text().split("```")[1]
    named = re.findall(r"\b(\w+)/ ", picture)
    for contract in CONFIGURATION["contracts"]:
        if contract["type"] == "layers" and "containers" not in contract:
            layers = [name for layer in contract["layers"] for name in layer.split(" | ")]
            assert all(named.index(a) < named.index(b) for a, b in pairwise(layers)), layers
    floors = next(each["layers"] for each in CONFIGURATION["contracts"] if "containers" in each)
    assert " > ".join(floors[:4]) in picture
