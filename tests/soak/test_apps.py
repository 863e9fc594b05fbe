"""`make soak-hand`: other people's applications from PyPI; private packages."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from tests.lab_server import PROJECT, Server, lab
from tests.soak import private

SERVED_BY = ["gunicorn", "uvicorn-worker", "httptools", "uvloop"]
ECHO = PROJECT / "tests/e2e/apps/echo"
# Prints the files that contain a line of /run/needle, and the number of such journal lines.
SEARCH = (
    "export LC_ALL=C; find / /run /tmp /dev/shm -xdev -type f -print0"
    " | xargs -0 grep -lsF -f /run/needle; journalctl --no-pager -a -o cat"
    " | grep -cF -f /run/needle"
)
USER, PASSWORD = "deployer", "correct-horse-battery-staple"


@dataclass(frozen=True)
class Application:
    """An application: its packages, the files around it, and its settings."""

    name: str
    needs: list[str]
    settings: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)
    locked: bool = False
    """Whether pyproject.toml and uv.lock pin it, not requirements.txt."""
    path: str = "/"
    says: str = ""
    """A text in the response at `path`."""

    def write(self, folder: Path) -> None:
        """Create the folder that a user of onebox would have."""
        for name, text in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        if self.locked:
            needs = ", ".join(f'"{need}"' for need in [*SERVED_BY, *self.needs])
            project = f'name = "my-{self.name}"\nversion = "0"\nrequires-python = ">=3.11"\n'
            text = f"[project]\n{project}dependencies = [{needs}]\n"
            (folder / "pyproject.toml").write_text(text)
            uv(folder, "lock")
        else:
            (folder / "requirements.in").write_text("\n".join([*SERVED_BY, *self.needs]))
            options = ["--universal", "--python-version=3.11", "--generate-hashes"]
            uv(folder, "pip", "compile", *options, "requirements.in", "-o", "requirements.txt")


APPLICATIONS = [
    Application(
        # FastAPI from a factory with arguments; the folder has only its data.
        name="simple-index",
        needs=["simple-repository-server"],
        settings={
            "module": 'simple_repository_server.__main__:create_app(["packages"])',
            "health": "/simple/",
            "database": "none",
        },
        files={"packages/sample/sample-1.0.tar.gz": "not really an archive\n"},
        path="/simple/",
        says="sample",
    ),
    Application(
        # FastAPI with sync SQLAlchemy on PostgreSQL; Alembic's migrations are in the package. It
        # needs an older FastAPI and distutils.
        name="quetz",
        needs=["quetz-server", "fastapi<0.116", "psycopg2-binary", "setuptools<81"],
        settings={
            "module": "quetz.main:app",
            "migrate": "env --chdir=/tmp quetz init-db .",
            "database_env": {
                "QUETZ_SQLALCHEMY_DATABASE_URL": "postgresql+psycopg2://{role}@/{name}"
                "?host=/run/postgresql"
            },
            "env": {"QUETZ_LOGGING_FILE": "/tmp/quetz.log"},  # noqa: S108 - a /tmp of its own
            "secrets": ["QUETZ_SESSION_SECRET"],
        },
        path="/api/channels",
        says="[]",
    ),
    Application(
        # Its own ASGI framework, threads and SQLite; nginx serves its stylesheet.
        name="datasette",
        needs=["datasette"],
        settings={
            "module": "serve:app",
            "health": "/-/versions.json",
            "database": "none",
            "static": [{"path": "/assets", "folder": "assets", "max_age": 60}],
        },
        files={
            "serve.py": "from datasette.app import Datasette\n\n"
            "app = Datasette(memory=True, crossdb=False).app()\n",
            "assets/own.css": "body { color: black }\n",
        },
        locked=True,
        path="/_memory.json?sql=select+6*7+as+answer",
        says="42",
    ),
    Application(
        # FastAPI with sync SQLAlchemy, WebSockets, a scheduler; its database is a file.
        name="plombery",
        needs=["plombery"],
        settings={
            "module": "plombery:get_app()",
            "health": "/api/pipelines/",
            "database": "none",
            "env": {
                "DATABASE_URL": "sqlite:////var/lib/plombery/plombery.db",
                "DATA_PATH": "/var/lib/plombery",
            },
        },
        locked=True,
        path="/api/runs/",
        says="[]",
    ),
    Application(
        # Litestar, in src/, as a factory.
        name="litestar",
        needs=["litestar"],
        settings={"module": "hello.web:create_app()", "health": "/", "database": "none"},
        files={
            "src/hello/__init__.py": "",
            "src/hello/web.py": "from litestar import Litestar, get\n\n\n"
            '@get("/")\nasync def hello() -> str:\n    return "hello from src"\n\n\n'
            "def create_app() -> Litestar:\n    return Litestar([hello])\n",
        },
        locked=True,
        says="hello from src",
    ),
]


def uv(folder: Path, *arguments: str, **environment: str) -> None:
    """Run uv in a folder on this machine."""
    command = [find_uv_bin(), *arguments, "--quiet"]
    given = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"} | environment
    subprocess.run(command, cwd=folder, env=given, check=True)


@pytest.fixture(scope="module", params=["12", "13"], ids=["debian12", "debian13"])
def box(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A bare server of each Debian, for all applications in turn."""
    name = f"apps{os.getpid()}-{request.param}"
    domains = [f"--domain={app.name}.apps.test" for app in APPLICATIONS]
    lab("up", name, "--debian", request.param, "--owner", str(os.getpid()), *domains)
    server = Server.of(name, tmp_path_factory.mktemp("box"), "root")
    yield server
    lab("down", name)


def app_settings(name: str, domain: str, source: Path, **settings: Any) -> dict[str, Any]:
    """Return an app's settings."""
    quick = {"web": {"workers": 1}, "settle": 1, "watch": 1}
    return {"name": name, "source": str(source), "domains": [domain], **quick, **settings}


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda app: app.name)
def test_an_application_from_pypi(
    box: Server,
    tmp_path: Path,
    figures: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    application: Application,
) -> None:
    application.write(tmp_path)
    monkeypatch.setenv("QUETZ_QUETZ_SESSION_SECRET", "a1" * 32)
    domain = f"{application.name}.apps.test"
    box.entry["apps"] = [app_settings(application.name, domain, tmp_path, **application.settings)]
    begin = time.monotonic()
    box.deploy()
    figures["seconds_first"] = round(time.monotonic() - begin, 1)
    answer = box.request("GET", application.path, domain=domain)
    assert answer.status_code == 200, answer.text
    assert application.says in answer.text
    for static in application.settings.get("static", []):
        answer = box.request("GET", f"{static['path']}/own.css", domain=domain)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "max-age=60")
        assert "x-release" not in answer.headers, "the app answered, not nginx"
    begin = time.monotonic()
    assert box.deploy()["success"] == []
    figures["seconds_nothing_to_do"] = round(time.monotonic() - begin, 1)
    environment = f"/srv/{application.name}/current/venv/"
    figures["packages"] = int(
        box.run(f"ls -d {environment}lib/*/site-packages/*.dist-info | wc -l")
    )
    figures["mib"] = int(box.run(f"du -sm {environment} | cut -f1"))
    figures["versions"] = sorted(
        box.run(f"ls {environment}lib/*/site-packages | grep dist-info | grep -i '{package}-'")
        for package in [application.needs[0].split("[")[0].replace("-", "_")]
    )


@pytest.fixture
def git_server(box: Server, tmp_path: Path) -> tuple[Path, Path, str]:
    """A git server on the box, over SSH: a read-only key, known_hosts, its address."""
    key, known = tmp_path / "deploy_key", tmp_path / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    address = box.host.address
    plain = app_settings("corp", "simple-index.apps.test", ECHO, module="echo:app", health="/")
    box.entry["apps"] = [plain | {"database": "none", "packages": ["git"]}]
    box.deploy()
    box.run("useradd --create-home --shell /bin/sh git")
    public = key.with_suffix(".pub").read_text()
    box.run("install -d -o git -m 700 ~git/.ssh; cat > ~git/.ssh/authorized_keys", given=public)
    host_key = box.run("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
    known.write_text(f"{address} {host_key}\n")
    return key, known, f"ssh://git@{address}/home/git/corp-git.git"


def commit_package(box: Server, folder: Path) -> str:
    """Create a repository with a package on the git server; return its commit."""
    (folder / "corp_git").mkdir(parents=True)
    (folder / "corp_git/__init__.py").write_text('said = "from a private repository"\n')
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "corp-git"\nversion = "1.0"\n'
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    )
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "One"]):
        subprocess.run([*git, *arguments], check=True)
    subprocess.run([*git, "bundle", "create", "-q", "all", "main"], check=True, cwd=folder)
    bundle = subprocess.run(["base64", str(folder / "all")], check=True, capture_output=True)
    box.run("base64 -d > /tmp/all.bundle", given=bundle.stdout.decode())
    box.run("runuser -u git -- git clone -q --bare /tmp/all.bundle /home/git/corp-git.git")
    found = subprocess.run([*git, "rev-parse", "main"], check=True, capture_output=True, text=True)
    return found.stdout.strip()


def test_private_packages_leave_no_credential(
    box: Server,
    git_server: tuple[Path, Path, str],
    tmp_path: Path,
    figures: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wheel from an index with a password, and a package from a repository with a deploy key."""
    key, known, repository = git_server
    commit = commit_package(box, tmp_path / "corp-git")
    folder = tmp_path / "app"
    folder.mkdir()
    shutil.copy(ECHO / "echo.py", folder)
    with (folder / "echo.py").open("a") as file:
        file.write("\nimport corp_git, corp_index  # noqa\n")
    gateway = box.host.address.rpartition(".")[0] + ".1"
    wheels = {"corp_index": private.wheel("corp_index", "said = 'from a private index'\n")}
    observed: list[str] = []
    ps = "ps -eo args; for u in nobody corp; do runuser -u $u -- cat /proc/[0-9]*/environ; done"

    def asked() -> None:
        observed.append(box.run(f"{ps} 2>/dev/null", check=False))

    with private.index(gateway, USER, PASSWORD, wheels, asked) as address:
        (folder / "pyproject.toml").write_text(
            '[project]\nname = "corp"\nversion = "0"\nrequires-python = ">=3.11"\n'
            'dependencies = ["gunicorn", "uvicorn-worker", "corp-index", "corp-git"]\n'
            f'[[tool.uv.index]]\nname = "corp"\nurl = "{address}"\nexplicit = true\n'
            '[tool.uv.sources]\ncorp-index = { index = "corp" }\n'
            f'corp-git = {{ git = "{repository}", rev = "{commit}" }}\n'
        )
        uv(
            folder,
            "lock",
            UV_INDEX_CORP_USERNAME=USER,
            UV_INDEX_CORP_PASSWORD=PASSWORD,
            GIT_SSH_COMMAND=f"ssh -i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={known}",
        )
        app = app_settings("corp", "simple-index.apps.test", folder, module="echo:app", health="/")
        app |= {"database": "none", "build": True, "packages": ["git"]}
        box.entry["apps"] = [app]

        without = box.pyinfra("-y")
        assert without.returncode != 0
        assert "uv could not install the packages" in without.stdout + without.stderr
        app |= {
            "install_secrets": ["UV_INDEX_CORP_USERNAME", "UV_INDEX_CORP_PASSWORD"],
            "git_key": str(key),
            "git_known_hosts": str(known),
        }
        monkeypatch.setenv("CORP_UV_INDEX_CORP_USERNAME", USER)
        monkeypatch.setenv("CORP_UV_INDEX_CORP_PASSWORD", f"not-{PASSWORD}")
        wrong = box.pyinfra("-y")
        assert wrong.returncode != 0
        assert "401" in wrong.stdout + wrong.stderr
        assert PASSWORD not in wrong.stdout + wrong.stderr

        observed.clear()
        monkeypatch.setenv("CORP_UV_INDEX_CORP_PASSWORD", PASSWORD)
        right = box.pyinfra("-y", "-vvv", "--debug")
        output = right.stdout + right.stderr
        assert right.returncode == 0, output[-5000:]
    assert box.deploy()["success"] == [], "neither credential is needed again"
    code = "import corp_git, corp_index; print(corp_git.said, corp_index.said)"
    printed = box.run(f"/srv/corp/current/venv/bin/python -c '{code}'")
    assert printed == "from a private repository from a private index"

    processes = "\n".join(observed)
    assert "uv sync" in processes, "uv ran while processes were listed"
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for secret in (PASSWORD, encoded, *key.read_text().splitlines()[3:5]):
        assert secret not in processes
        assert secret not in output
        box.run("cat > /run/needle", given=secret)
        assert box.run(SEARCH, check=False).split() == ["/run/needle", "0"]
    # The control: the search finds a text of the package, and one of the journal.
    box.run("cat > /run/needle", given="from a private index\nInstalling the packages")
    found = box.run(f"{SEARCH}; rm /run/needle", check=False).split()
    assert any(path.endswith("/corp_index.py") for path in found)
    assert int(found[-1]) > 0
    figures["searched_for"] = "the password, user:password in base64, two lines of the key"
    figures["searched_in"] = "every file, the journal, argument lists, other users' environments"
