"""`make soak-main`: the first deploy for each user and Debian, and the demo in a fresh clone."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_1_deploy import test_the_host_is_verified as verify
from tests.lab_server import PROJECT, Server, lab


@pytest.mark.parametrize("debian", ["12", "13"])
@pytest.mark.parametrize("user", ["root", "debian"])
def test_every_user_on_every_debian(
    tmp_path: Path, figures: dict[str, Any], debian: str, user: str
) -> None:
    name = f"m{os.getpid()}-{debian}-{user}"
    lab("up", name, "--debian", debian, "--owner", str(os.getpid()))
    try:
        server = Server.of(name, tmp_path, user)
        figures["seconds_first"] = seconds(server)
        figures["seconds_nothing_to_do"] = seconds(server)
        assert server.deploy()["success"] == []
        verify(server)
    finally:
        lab("down", name)


def seconds(server: Server) -> float:
    """Return the seconds that a deploy takes for its user."""
    begin = time.monotonic()
    result = server.pyinfra("-y")
    assert result.returncode == 0, result.stdout + result.stderr
    return round(time.monotonic() - begin, 1)


def test_the_demo_in_a_folder_with_a_space(tmp_path: Path, figures: dict[str, Any]) -> None:
    """Twice in a row, in a fresh clone, under a locale that isn't English."""
    clone = tmp_path / "a folder" / "onebox"
    subprocess.run(["git", "clone", "-q", str(PROJECT), str(clone)], check=True)
    environment = os.environ | {"LANG": "de_DE.UTF-8", "LC_ALL": "de_DE.UTF-8"}
    environment.pop("VIRTUAL_ENV", None)
    for run in ("first", "second"):
        begin = time.monotonic()
        result = subprocess.run(
            ["make", "demo"],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert "https://demo.onebox.test/" in result.stdout
        figures[f"seconds_{run}"] = round(time.monotonic() - begin, 1)
        command = next(li for li in result.stdout.splitlines() if li.startswith("Ask it"))
        ask = command.removeprefix("Ask it").strip()
        answer = subprocess.run(["sh", "-c", ask], capture_output=True, text=True, check=False)
        assert answer.stdout.startswith('{"ready":true'), answer.stderr
    subprocess.run(["make", "demo-down"], cwd=clone, env=environment, check=True)
