"""`make demo`: deploy the sample app to a throwaway host, and print the next commands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from lab.hosts import Host, running

PROJECT = Path(__file__).resolve().parent.parent
NAME = "demo"
DEBIAN = "12"


def main() -> int:
    """Run the demo; return the exit code of the step that failed, or 0."""
    start = time.monotonic()
    steps = [
        (f"Boot a bare Debian {DEBIAN} host", _boot),
        ("Deploy:  pyinfra lab/inventory.py deploy.py", _deploy),
        ("Verify:  pytest tests/host", _verify),
    ]
    for number, (title, step) in enumerate(steps, start=1):
        _headline(f"{number}/{len(steps)}  {title}")
        if code := step():
            _headline(f"This step failed. The host is still up: {_lab('ssh', NAME)}")
            return code
    host = _host()
    _headline(f"Done in {time.monotonic() - start:.0f} s")
    print(_farewell(host))
    return 0


def _boot() -> int:
    if _host():
        print(f"The host {NAME} is already up; deploying to it again.")
        return 0
    # A host that is off, or unfinished after an interrupted run.
    subprocess.run([*_python("lab"), "down", NAME], check=False, stderr=subprocess.DEVNULL)
    return subprocess.run([*_python("lab"), "up", NAME, "--debian", DEBIAN], check=False).returncode


def _deploy() -> int:
    arguments = ["-y", "--limit", NAME, "lab/inventory.py", "deploy.py"]
    return subprocess.run([*_python("pyinfra"), *arguments], cwd=PROJECT, check=False).returncode


def _verify() -> int:
    host = _host()
    assert host  # noqa: S101 - it was deployed to a moment ago
    environment = os.environ | {
        "ONEBOX_INVENTORY": "lab/inventory.py",
        "ONEBOX_LIMIT": NAME,
        "SSL_CERT_FILE": str(host.acme_root),
    }
    command = [*_python("pytest"), "--quiet", "tests/host"]
    return subprocess.run(command, cwd=PROJECT, env=environment, check=False).returncode


def _host() -> Host | None:
    return next((host for host in running() if host.name == NAME), None)


def _farewell(host: Host | None) -> str:
    assert host  # noqa: S101 - it was verified a moment ago
    domain = host.domains[0]
    curl = f"curl --cacert {host.acme_root} --resolve {domain}:443:{host.address}"
    return "\n".join([
        f"The app      https://{domain}/",
        f"Ask it       {curl} https://{domain}/health/ready",
        f"A shell      {_lab('ssh', NAME)}",
        f"Deploy again {_sudo()}.venv/bin/pyinfra --limit {NAME} lab/inventory.py deploy.py",
        "Take it down make demo-down",
    ])  # fmt: skip


def _lab(*arguments: str) -> str:
    return f"{_sudo()}.venv/bin/python -m lab {' '.join(arguments)}"


def _sudo() -> str:
    return "sudo " if "SUDO_USER" in os.environ else ""


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _headline(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
