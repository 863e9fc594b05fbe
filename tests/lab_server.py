"""A lab host in the end-to-end tests: deploys, requests, faults."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx

from lab.hosts import Host, running
from lab.inventory_entry import entry

SHORT, LONG = 60, 600  # seconds, timeouts of commands
# The deployer and the lab host share this machine's CPU; a laptop and its server don't.
PYINFRA = ["nice", "-n", "5", sys.executable, "-m", "pyinfra"]
PROJECT = Path(__file__).resolve().parent.parent


@dataclass
class Server:
    """A lab host with an inventory of its own, which a test may change."""

    host: Host
    inventory: Path
    entry: dict[str, Any]
    instances: ClassVar[list[Server]] = []

    def __post_init__(self) -> None:
        self.instances.append(self)

    @classmethod
    def of(cls, name: str, folder: Path, user: str, domain: str | None = None) -> Server:
        """Return the running host `name`; `domain` is the app's, if it isn't the host's own."""
        host = next(host for host in running() if host.name == name)
        described = entry(host, user)
        described["apps"][0] |= {
            "source": str(PROJECT / "app"),
            "web": {"workers": 2},
            "settle": 1,
            "watch": 1,
        }
        if domain:
            described["apps"][0]["domains"] = [domain]
        return cls(host, folder / f"{name}.py", described)

    @property
    def app(self) -> dict[str, Any]:
        """Return the first app's settings, for changes."""
        app: dict[str, Any] = self.entry["apps"][0]
        return app

    @property
    def domain(self) -> str:
        """Return the first app's main domain."""
        return str(self.app["domains"][0])

    def pyinfra(
        self, *arguments: str, deploy: str = "deploy.py"
    ) -> subprocess.CompletedProcess[str]:
        """Run pyinfra with this server's inventory."""
        command = [*PYINFRA, *arguments, str(self.write()), deploy]
        return local(command, LONG)

    def start_deploy(self, *arguments: str, deploy: str = "deploy.py") -> subprocess.Popen[bytes]:
        """Start a deploy in the background."""
        command = [*PYINFRA, "-y", *arguments, str(self.write()), deploy]
        with self.inventory.with_suffix(".log").open("ab") as output:
            return subprocess.Popen(
                command, cwd=PROJECT, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    def write(self) -> Path:
        """Write the current inventory; return its path."""
        text = f"from settings import servers\n\nhosts = servers({self.entry!r}, beside=__file__)\n"
        self.inventory.write_text(text)
        return self.inventory

    def wait_for(self, command: str, seconds: float) -> None:
        """Wait until a command succeeds on the server; fail after `seconds`."""
        deadline = time.monotonic() + seconds
        while "yes" not in self.run(f"{command} && echo yes", check=False):
            assert time.monotonic() < deadline, f"still failing after {seconds} s: {command}"
            time.sleep(0.1)

    def deploy(self) -> dict[str, list[str]]:
        """Deploy; return the names of the operations by their result.

        Raises AssertionError with the whole output if the deploy fails.
        """
        result = self.pyinfra("-y", "--json")
        assert result.returncode == 0, result.stdout + result.stderr
        outcomes: dict[str, list[str]] = {"success": [], "no_change": [], "error": []}
        for operation in json.loads(result.stdout)["results"]["operations"]:
            for outcome, names in outcomes.items():
                if operation[outcome]:
                    names.append(operation["name"])
        return outcomes

    def run(self, command: str, *, check: bool = True, given: str | None = None) -> str:
        """Run a command as root on the server; return its output."""
        ssh = ["ssh", "-F", str(self.host.ssh_config), self.host.name, command]
        result = local(ssh, SHORT, given)
        assert result.returncode == 0 or not check, result.stdout + result.stderr
        return result.stdout.strip()

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Request a path of the app over HTTPS; the lab's root must have issued its certificate."""
        domain = arguments.pop("domain", self.domain)
        headers = {"Host": domain, **arguments.pop("headers", {})}
        trust = ssl.create_default_context(cafile=str(self.host.acme_root))
        with httpx.Client(verify=trust, timeout=10) as client:
            return client.request(
                method,
                f"https://{self.host.address}{path}",
                headers=headers,
                extensions={"sni_hostname": domain},
                **arguments,
            )

    def create_link(self, url: str) -> httpx.Response:
        """Create a link in the sample app, with the test's own account."""
        account = {"name": "tester", "password": "correct horse battery"}
        answer = self.request("POST", "/accounts", json=account)
        if answer.status_code == httpx.codes.CONFLICT:
            answer = self.request("POST", "/tokens", json=account)
        if answer.is_error:
            return answer
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        return self.request("POST", "/links", json={"url": url}, headers=headers)

    def release(self) -> str:
        """Return the release that answers public requests, from its response header."""
        return self.request("GET", "/health/live").headers["x-release"]

    def seconds_until_ready(self, limit: float, path: str = "/health/ready") -> float:
        """Return the seconds until the app is ready; fail after `limit` seconds."""
        start = time.monotonic()
        answer: object = None
        while (passed := time.monotonic() - start) < limit:
            try:
                answer = self.request("GET", path).status_code
            except httpx.HTTPError as error:
                answer = error
            if answer == httpx.codes.OK:
                return passed
            time.sleep(0.1)
        raise AssertionError(f"not ready after {limit} s: {answer}")


def local(
    command: list[str], seconds: float, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command on this machine, in the project's folder, for at most `seconds`."""
    return subprocess.run(
        command,
        cwd=PROJECT,
        input=given or "",
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def lab(*arguments: str) -> str:
    """Run a lab command; return its output."""
    result = local([sys.executable, "-m", "lab", *arguments], LONG)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
