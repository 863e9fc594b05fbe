"""Programs that the server needs, in environments that a timer never finds half built."""

from __future__ import annotations

import shlex
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from operations import python
from operations.python import Link, install
from tests.unit.hosts import commands, run, stdin, text

PINS = "certbot==1.0 --hash=sha256:abc\n"
FOLDER = f"certbot-{sha256(PINS.encode()).hexdigest()[:12]}"


@pytest.fixture
def _pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python, "_requirements", lambda _: PINS)


@pytest.mark.usefixtures("_pinned")
def test_a_current_environment_is_left_alone() -> None:
    assert commands(install, "certbot", facts={Link: FOLDER}) == []


@pytest.mark.usefixtures("_pinned")
@pytest.mark.parametrize("current", ["", "certbot-older"])
def test_an_environment_is_built_beside_and_switched_to(current: str) -> None:
    [command] = commands(install, "certbot", facts={Link: current})
    new = f"/usr/local/lib/onebox/{FOLDER}"
    assert stdin(command) == PINS
    steps = text(command).split(" && ")
    assert steps[:6] == [
        f"rm -rf {new}",
        f"$(readlink -f /usr/bin/python3) -m venv {new}",
        (
            f"{new}/bin/python -m pip install --quiet --disable-pip-version-check"
            " --require-hashes --only-binary :all: -r /dev/stdin"
        ),
        "sync",
        f"ln -sfn {FOLDER} /usr/local/lib/onebox/certbot.new",
        "mv -T /usr/local/lib/onebox/certbot.new /usr/local/lib/onebox/certbot",
    ]
    assert steps[6].startswith("find /usr/local/lib/onebox -maxdepth 1 -type d -name 'certbot-*'")


@pytest.mark.parametrize("group", ["certbot", "uv"])
def test_packages_are_pinned_by_hash(group: str) -> None:
    pins = python._requirements(group)
    assert f"\n{group}==" in f"\n{pins}"
    assert "--hash=sha256:" in pins


def test_an_environment_counts_as_long_as_it_works_on_todays_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(package: str) -> list[str]:
        return run(Link().command(str(tmp_path / package)))

    monkeypatch.setattr(python, "PYTHON", shlex.quote(sys.executable))
    (tmp_path / "env-1/bin").mkdir(parents=True)
    (tmp_path / "env-1/bin/python").symlink_to(sys.executable)
    for package in ("json", "not_installed"):
        (tmp_path / package).symlink_to("env-1")
    assert found("json") == ["env-1"]
    assert found("not_installed") == found("absent") == []
    monkeypatch.setattr(python, "PYTHON", "/bin/sh")
    assert found("json") == []
