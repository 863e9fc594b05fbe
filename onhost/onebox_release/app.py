"""An app on this server: where its files are, how its units are called, and how it is released.

All paths and unit names derive from its name, here alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from onebox_release.parameters import Parameters, read


@dataclass(frozen=True)
class App:
    """An app, by its name; `root` is another than / in tests alone."""

    name: str
    root: Path = Path("/")
    given: Parameters | None = field(default=None, compare=False)
    """Parameters to go by instead of the file's."""

    @cached_property
    def parameters(self) -> Parameters:
        """Return how it is released. Raises ReleaseError where the app is unknown here."""
        return self.given or read(self.parameters_file)

    def having(self, **changes: Any) -> App:
        """Return the same app with other parameters."""
        return replace(self, given=replace(self.parameters, **changes))

    @property
    def home(self) -> Path:
        """Return the folder of releases, environments and the pointer."""
        return self.root / "srv" / self.name

    @property
    def current(self) -> Path:
        """Return the one pointer: what it leads to is live."""
        return self.home / "current"

    @property
    def configuration(self) -> Path:
        """Return the folder of environments and secrets, for root alone."""
        return self.root / "etc" / self.name

    @property
    def parameters_file(self) -> Path:
        """Return the file that says how the app is released."""
        return self.root / "etc/onebox" / f"{self.name}.json"

    @property
    def key(self) -> Path:
        """Return the key of configuration revisions, for root alone."""
        return self.root / "etc/onebox/revision.key"

    @property
    def state(self) -> Path:
        """Return the folder of history and incoming artifacts."""
        return self.root / "var/lib/onebox" / self.name

    @property
    def uploads(self) -> Path:
        """Return the folder of archives that deploy keys are sending."""
        return self.state / "uploads"

    def upload(self, slot: str, digest: str) -> Path:
        """Return where a deploy key's archive waits, checked, for its deploy to begin."""
        return self.uploads / f"{slot}.{digest}"

    @property
    def rebuilds(self) -> Path:
        """Return the file that counts what was made anew from the same."""
        return self.state / "made-anew"

    @property
    def history(self) -> Path:
        """Return the file with a line for each deploy."""
        return self.state / "history.jsonl"

    @property
    def lock(self) -> Path:
        """Return the file that is locked while a release is made or switched."""
        return self.root / "run" / f"onebox-{self.name}.lock"

    def credentials(self, follower: int) -> Path:
        """Return where credentials wait, in memory, for the deploy that a process starts."""
        return self.root / "run" / f"onebox-{self.name}.credentials.{follower}"

    @property
    def dumps(self) -> Path:
        """Return the folder of dumps that were taken before migrations."""
        return self.state / "dumps"

    @property
    def caches(self) -> Path:
        """Return the folder of uv's caches, which the app's build user writes to."""
        return self.root / "var/cache/onebox/build" / self.name

    def progress(self, follower: int) -> Path:
        """Return where a deploy says what it is at, for the process that follows it."""
        return self.root / "run" / f"onebox-release-{self.name}.{follower}"

    @property
    def access_log(self) -> Path:
        """Return nginx's log of this app's requests."""
        return self.root / "var/log/nginx" / f"{self.name}.access.log"

    def job(self, job: str) -> Path:
        """Return where the last run of one of the app's jobs is written down."""
        return self.state / "jobs" / f"{job}.json"

    def timer_stamp(self, timer: str) -> Path:
        """Return the file by whose age systemd knows when a timer ran last."""
        return self.root / f"var/lib/systemd/timers/stamp-{timer}.timer"

    @property
    def manifest(self) -> Path:
        """Return the sums of all files as the last deploy left them."""
        return self.root / "etc/onebox/watch/manifest"

    @property
    def hook(self) -> Path:
        """Return the environment of the hook that is run; a reboot empties it."""
        return self.root / "run" / f"onebox-hook-{self.name}.env"

    def command(self, token: str) -> Path:
        """Return where a command waits, in memory, for the run of it by that token."""
        return self.root / "run" / f"onebox-run-{self.name}.{token}"

    @property
    def maintenance(self) -> Path:
        """Return the file that has nginx show a page in the app's place."""
        return self.root / "var/lib/onebox" / f"{self.name}.maintenance"

    @property
    def paused(self) -> Path:
        """Return the file that keeps an app's processes and jobs from being started."""
        return self.root / "var/lib/onebox" / f"{self.name}.paused"

    @property
    def certificate(self) -> Path:
        """Return the certificate that nginx serves, with its chain."""
        return self.root / "etc/letsencrypt/live" / self.name / "fullchain.pem"

    @property
    def data(self) -> Path:
        """Return the folder that the app may write to."""
        return self.root / "var/lib" / self.name

    @property
    def generated(self) -> Path:
        """Return the file with the secret key that was made here."""
        return self.configuration / "generated.env"

    @property
    def copies(self) -> Path:
        """Return the folder of last copies of removed apps' data."""
        return self.root / "var/backups/onebox"

    @property
    def nginx(self) -> Path:
        """Return the link to the whole of nginx's configuration."""
        return self.root / "etc/onebox/nginx"

    @property
    def units_folder(self) -> Path:
        """Return where unit files are."""
        return self.root / "etc/systemd/system"

    @property
    def boot_unit(self) -> Path:
        """Return the unit file that starts the app at boot."""
        return self.units_folder / f"{self.name}.service"

    @property
    def slice(self) -> Path:
        """Return the unit file that bounds all its processes."""
        return self.units_folder / f"onebox-{self.name.replace('-', '_')}.slice"

    @property
    def listen_unit(self) -> Path:
        """Return the unit file that has the live release's socket listen early at boot."""
        return self.units_folder / f"onebox-listen-{self.name}.service"

    @property
    def web_unit(self) -> Path:
        """Return the unit file of its web processes."""
        return self.units_folder / f"{self.name}-web@.service"

    def all_paths(self) -> list[Path]:
        """Return all files and folders of the app but units, logs and parameters."""
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
        """Return the app's template units that are there. Other apps' names may begin the same."""
        kinds = ["@.target", "-web@.socket", "-migrate@.service"]
        kinds += [f"-{process}@.service" for process in ("web", *self.parameters.processes)]
        return [p for kind in kinds if (p := self.units_folder / f"{self.name}{kind}").exists()]

    def release(self, release: str) -> Release:
        """Return a release of this app by its id, whether it is here or not."""
        return Release(self, release)

    def live(self) -> Release | None:
        """Return the release that `current` points to, if it is there."""
        link = self.current
        return self.release(link.readlink().name) if link.is_symlink() and link.exists() else None

    def missing(self) -> str | None:
        """Return the id of the release that `current` points to, if it is not there."""
        link = self.current
        return link.readlink().name if link.is_symlink() and not link.exists() else None

    def incoming(self, digest: str) -> Path:
        """Return where the archive with this SHA-256 arrives."""
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
        """Return the first part of its id: what its code and packages are."""
        return self.id.partition("-")[0]

    @property
    def folder(self) -> Path:
        """Return the folder of its code."""
        return self.app.home / "releases" / self.id

    @property
    def environment(self) -> Path:
        """Return the file of the environment that it runs with."""
        return self.app.configuration / "releases" / f"{self.id}.env"

    @property
    def socket(self) -> Path:
        """Return the socket that it answers on."""
        return self.app.root / "run" / self.app.name / self.id / "web.sock"

    @property
    def target(self) -> str:
        """Return the unit that groups its processes."""
        return f"{self.app.name}@{self.id}.target"

    @property
    def web_socket(self) -> str:
        """Return the unit that holds its socket."""
        return f"{self.app.name}-web@{self.id}.socket"

    def unit(self, process: str) -> str:
        """Return the unit of one of its processes."""
        return f"{self.app.name}-{process}@{self.id}.service"

    @property
    def migration(self) -> str:
        """Return the unit that migrates the database for it."""
        return self.unit("migrate")

    @property
    def health_path(self) -> str:
        """Return where it reports its health.

        It was made with that: a later deploy may have brought another path, and failed or been
        rolled back. Releases of an older onebox know none, and use today's.
        """
        text = self.environment.read_text() if self.environment.exists() else ""
        found = re.search(r'^ONEBOX_HEALTH="(.+)"$', text, re.MULTILINE)
        return found[1] if found else self.app.parameters.health
