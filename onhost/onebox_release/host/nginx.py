"""Remove an app from nginx's configuration."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from onebox_release.app import App
from onebox_release.errors import ReleaseError
from onebox_release.host import durable, systemd

TEST = ["/usr/sbin/nginx", "-t", "-q", "-c"]


def remove_site(app: App) -> None:
    """Remove an app's site from nginx's configuration, and reload nginx.

    The new folder equals what a deploy without the app installs, so the next deploy changes
    nothing.
    """
    link = app.nginx
    site = f"sites/{app.name}.conf"
    paths = (path for path in link.rglob("*") if path.is_file())
    files = {str(path.relative_to(link)): path.read_text() for path in paths}
    if files.pop(site, None) is not None:
        _install(link, files)
    for old in link.parent.glob(f"{link.name}.*"):
        if old.is_dir() and old != link.readlink():
            shutil.rmtree(old)
    systemd.systemctl("reload", "nginx.service")


def _install(link: Path, files: dict[str, str]) -> None:
    new = Path(tempfile.mkdtemp(prefix=f"{link.name}.", dir=link.parent))
    new.chmod(0o755)
    for name, text in files.items():
        path = new / name
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, text, 0o644)
    command = [*TEST, str(new / "nginx.conf")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        shutil.rmtree(new)
        raise ReleaseError(f"nginx rejects its configuration without the app: {result.stderr}")
    durable.point(link, str(new))
