"""An app on this server: its paths, its unit names and its parameters.

All paths and unit names are derived from the app's name in this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from onebox_release.parameters import Parameters, read

PROGRAM = "/usr/local/bin/onebox-release"


@dataclass(frozen=True)
class App:
    """An app, by its name; only tests set `root`."""

    name: str
    root: Path = Path("/")
    override: Parameters | None = field(default=None, compare=False)
    """Parameters that replace those of the file."""

    @cached_property
    def parameters(self) -> Parameters:
        """Return the app's parameters. Raises ReleaseError if the server has no such app."""
        return self.override or read(self.parameters_file)

    def with_parameters(self, **changes: Any) -> App:
        """Return the same app with some parameters changed."""
        return replace(self, override=replace(self.parameters, **changes))

    @property
    def home(self) -> Path:
        """Return the folder of releases, virtual environments and the link `current`."""
        return self.root / "srv" / self.name

    @property
    def current(self) -> Path:
        """Return the link to the live release."""
        return self.home / "current"

    @property
    def configuration(self) -> Path:
        """Return the folder of environment files and secrets, readable by root only."""
        return self.root / "etc" / self.name

    @property
    def parameters_file(self) -> Path:
        """Return the file of the app's parameters."""
        return self.root / "etc/onebox" / f"{self.name}.json"

    @property
    def key(self) -> Path:
        """Return the key for hashes of configurations, readable by root only."""
        return self.root / "etc/onebox/revision.key"

    @property
    def state(self) -> Path:
        """Return the folder of history and incoming artifacts."""
        return self.root / "var/lib/onebox" / self.name

    @property
    def uploads(self) -> Path:
        """Return the folder of archives that deploy keys upload."""
        return self.state / "uploads"

    def upload(self, slot: str, digest: str) -> Path:
        """Return the path of a deploy key's checked archive until its deploy starts."""
        return self.uploads / f"{slot}.{digest}"

    @property
    def rebuilds(self) -> Path:
        """Return the file that counts forced rebuilds of releases and environments."""
        return self.state / "made-anew"

    @property
    def begun(self) -> Path:
        """Return the file with the history entry of a deploy that has not ended."""
        return self.state / "begun.json"

    @property
    def history(self) -> Path:
        """Return the file with one line per deploy."""
        return self.state / "history.jsonl"

    @property
    def lock(self) -> Path:
        """Return the file that is locked while a release is built or switched."""
        return self.root / "run" / f"onebox-{self.name}.lock"

    def credentials(self, follower: int) -> Path:
        """Return the path in tmpfs of the credentials for a deploy that a process starts."""
        return self.root / "run" / f"onebox-{self.name}.credentials.{follower}"

    @property
    def dumps(self) -> Path:
        """Return the folder of database dumps that migrations took."""
        return self.state / "dumps"

    @property
    def caches(self) -> Path:
        """Return the folder of uv's caches, writable by the app's build user."""
        return self.root / "var/cache/onebox/build" / self.name

    def progress(self, follower: int) -> Path:
        """Return the file that a deploy logs to, for the process that follows it."""
        return self.root / "run" / f"onebox-release-{self.name}.{follower}"

    @property
    def access_log(self) -> Path:
        """Return nginx's log of this app's requests."""
        return self.root / "var/log/nginx" / f"{self.name}.access.log"

    def timer_result(self, timer: str) -> Path:
        """Return the file with the result of a timer's last run."""
        return self.state / "timers" / f"{timer}.json"

    def timer_stamp(self, timer: str) -> Path:
        """Return the file whose modification time systemd takes as a timer's last run."""
        return self.root / f"var/lib/systemd/timers/stamp-{timer}.timer"

    @property
    def manifest(self) -> Path:
        """Return the checksums of all files that the last deploy installed."""
        return self.root / "etc/onebox/checks/manifest"

    @property
    def hook(self) -> Path:
        """Return the environment file of the running hook, in tmpfs."""
        return self.root / "run" / f"onebox-hook-{self.name}.env"

    def command(self, token: str) -> Path:
        """Return the path in tmpfs of the command for the run with this token."""
        return self.root / "run" / f"onebox-run-{self.name}.{token}"

    @property
    def maintenance(self) -> Path:
        """Return the file that makes nginx serve the maintenance page."""
        return self.root / "var/lib/onebox" / f"{self.name}.maintenance"

    @property
    def paused(self) -> Path:
        """Return the file that keeps the app's processes and timers from starting."""
        return self.root / "var/lib/onebox" / f"{self.name}.paused"

    @property
    def certificate(self) -> Path:
        """Return the certificate chain that nginx serves."""
        return self.root / "etc/letsencrypt/live" / self.name / "fullchain.pem"

    @property
    def data(self) -> Path:
        """Return the folder that the app may write to."""
        return self.root / "var/lib" / self.name

    @property
    def generated(self) -> Path:
        """Return the file with the secret key that was generated on this server."""
        return self.configuration / "generated.env"

    @property
    def copies(self) -> Path:
        """Return the folder of the final backups of removed apps."""
        return self.root / "var/backups/onebox"

    @property
    def nginx(self) -> Path:
        """Return the link to nginx's whole configuration."""
        return self.root / "etc/onebox/nginx"

    @property
    def units_folder(self) -> Path:
        """Return the folder of unit files."""
        return self.root / "etc/systemd/system"

    @property
    def boot_unit(self) -> Path:
        """Return the unit file that starts the app at boot."""
        return self.units_folder / f"{self.name}.service"

    @property
    def slice(self) -> Path:
        """Return the slice that limits all of the app's processes."""
        return self.units_folder / f"onebox-{self.name.replace('-', '_')}.slice"

    @property
    def listen_unit(self) -> Path:
        """Return the unit file that starts the live release's socket early at boot."""
        return self.units_folder / f"onebox-listen-{self.name}.service"

    @property
    def web_unit(self) -> Path:
        """Return the template unit file of the web processes."""
        return self.units_folder / f"{self.name}-web@.service"

    def all_paths(self) -> list[Path]:
        """Return all files and folders of the app except units, logs and parameters."""
        letsencrypt = self.root / "etc/letsencrypt"
        return [
            letsencrypt / "renewal" / f"{self.name}.conf",
            self.certificate.parent,
            letsencrypt / "archive" / self.name,
            self.root / "etc/sysusers.d" / f"{self.name}.conf",
            self.root / "etc/needrestart/conf.d" / f"onebox-{self.name}.conf",
            self.root / "etc/tmpfiles.d" / f"onebox-{self.name}.conf",
            self.maintenance,
            self.paused,
            self.home,
            self.configuration,
            self.data,
            self.state,
            self.caches,
            self.root / "run" / self.name,
            self.lock,
        ]

    @property
    def unit(self) -> str:
        """Return the unit that a deploy or rollback of this app runs in."""
        return f"onebox-release-{self.name}.service"

    def templates(self) -> list[Path]:
        """Return the app's template units that exist. Other apps' names may share its prefix."""
        kinds = ["@.target", "-web@.socket", "-migrate@.service"]
        kinds += [f"-{process}@.service" for process in ("web", *self.parameters.processes)]
        return [p for kind in kinds if (p := self.units_folder / f"{self.name}{kind}").exists()]

    def release(self, release: str) -> Release:
        """Return a release of this app by its id, whether it exists or not."""
        return Release(self, release)

    def live(self) -> Release | None:
        """Return the release that `current` points to, if it exists."""
        link = self.current
        return self.release(link.readlink().name) if link.is_symlink() and link.exists() else None

    def missing(self) -> str | None:
        """Return the id of the release that `current` points to, if it does not exist."""
        link = self.current
        return link.readlink().name if link.is_symlink() and not link.exists() else None

    def incoming(self, digest: str) -> Path:
        """Return the path of the archive with this SHA-256."""
        return self.state / "incoming" / f"{digest}.tar.gz"


@dataclass(frozen=True)
class Release:
    """One release of an app: its files and units."""

    app: App = field(compare=False, repr=False)
    id: str

    def __str__(self) -> str:
        return self.id

    @property
    def artifact(self) -> str:
        """Return the first part of its id, which identifies its code and packages."""
        return self.id.partition("-")[0]

    @property
    def folder(self) -> Path:
        """Return the folder of its code."""
        return self.app.home / "releases" / self.id

    @property
    def environment(self) -> Path:
        """Return its environment file."""
        return self.app.configuration / "releases" / f"{self.id}.env"

    @property
    def socket(self) -> Path:
        """Return its web socket."""
        return self.app.root / "run" / self.app.name / self.id / "web.sock"

    @property
    def target(self) -> str:
        """Return the unit that groups its processes."""
        return f"{self.app.name}@{self.id}.target"

    @property
    def web_socket(self) -> str:
        """Return the socket unit of its web process."""
        return f"{self.app.name}-web@{self.id}.socket"

    def unit(self, process: str) -> str:
        """Return the unit of one of its processes."""
        return f"{self.app.name}-{process}@{self.id}.service"

    @property
    def migration(self) -> str:
        """Return the unit that runs its migration."""
        return self.unit("migrate")

    @property
    def health_path(self) -> str:
        """Return the path of its health check, as it was when the release was built.

        A later deploy may have changed the path, and failed or been rolled back. Releases of an
        older onebox recorded no path; they use the current parameter.
        """
        text = self.environment.read_text() if self.environment.exists() else ""
        found = re.search(r'^ONEBOX_HEALTH="(.+)"$', text, re.MULTILINE)
        return found[1] if found else self.app.parameters.health
