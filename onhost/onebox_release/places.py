"""Where everything of an app is. All paths and unit names derive from its name, here alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """The paths and units of one app; `root` is another than / in tests alone."""

    app: str
    root: Path = Path("/")

    @property
    def home(self) -> Path:
        """Return the folder of releases, environments and the pointer."""
        return self.root / "srv" / self.app

    @property
    def current(self) -> Path:
        """Return the one pointer: what it leads to is live."""
        return self.home / "current"

    @property
    def configuration(self) -> Path:
        """Return the folder of environments and secrets, for root alone."""
        return self.root / "etc" / self.app

    @property
    def parameters(self) -> Path:
        """Return the file that says how the app is released."""
        return self.root / "etc/onebox" / f"{self.app}.json"

    @property
    def key(self) -> Path:
        """Return the key of configuration revisions, for root alone."""
        return self.root / "etc/onebox/revision.key"

    @property
    def state(self) -> Path:
        """Return the folder of history and incoming artifacts."""
        return self.root / "var/lib/onebox" / self.app

    @property
    def history(self) -> Path:
        """Return the file with a line for each deploy."""
        return self.state / "history.jsonl"

    @property
    def lock(self) -> Path:
        """Return the file that is locked while a release is made or switched."""
        return self.root / "run" / f"onebox-{self.app}.lock"

    @property
    def units(self) -> list[Path]:
        """Return the app's unit files that are there; other apps' names may start the same."""
        kinds = ("@.target", "-web@.socket", "-web@.service", "-migrate@.service")
        folder = self.root / "etc/systemd/system"
        return [path for kind in kinds if (path := folder / f"{self.app}{kind}").exists()]

    def release(self, release: str) -> Path:
        """Return a release's folder."""
        return self.home / "releases" / release

    def environment(self, release: str) -> Path:
        """Return the environment that a release runs with."""
        return self.configuration / "releases" / f"{release}.env"

    def socket(self, release: str) -> Path:
        """Return the socket that a release answers on."""
        return self.root / "run" / self.app / release / "web.sock"

    def target(self, release: str) -> str:
        """Return the unit that groups a release's processes."""
        return f"{self.app}@{release}.target"

    def web(self, release: str) -> str:
        """Return the unit of a release's web process."""
        return f"{self.app}-web@{release}.service"

    def migration(self, release: str) -> str:
        """Return the unit that migrates the database for a release."""
        return f"{self.app}-migrate@{release}.service"

    def incoming(self, digest: str) -> Path:
        """Return where the archive with this SHA-256 arrives."""
        return self.state / "incoming" / f"{digest}.tar.gz"
