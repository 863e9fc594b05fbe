"""nginx's configuration, as far as an app leaves it."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
from pathlib import Path

from . import durable, systemd
from .errors import ReleaseError
from .places import Places

TEST = ["/usr/sbin/nginx", "-t", "-q", "-c"]
SUMS = "find . -type f ! -name .sums -print0 | sort -z | xargs -0 sha256sum"


def leave_out(places: Places) -> None:
    """Have nginx serve everything but an app.

    The new folder is named and summed up as the deployer does it (operations/tree.py), so that a
    deploy without the app finds nothing to do.
    """
    link = places.nginx
    site = f"sites/{places.app}.conf"
    paths = (path for path in link.rglob("*") if path.is_file() and path.name != ".sums")
    files = {str(path.relative_to(link)): path.read_text() for path in paths}
    if files.pop(site, None) is not None:
        digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12]
        _place(link, link.with_name(f"{link.name}.{digest}"), files)
    systemd.systemctl("reload", "nginx.service")


def _place(link: Path, new: Path, files: dict[str, str]) -> None:
    shutil.rmtree(new, ignore_errors=True)
    for name, text in files.items():
        path = new / name
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, text, 0o644)
    old = link.readlink()
    steps = f'cd {shlex.quote(str(new))} && sums=$({SUMS}) && echo "$sums" > .sums && sync .sums'
    for command in (["sh", "-c", steps], [*TEST, str(new / "nginx.conf")]):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ReleaseError(f"nginx refuses a configuration without it: {result.stderr}")
    durable.point(link, str(new))
    shutil.rmtree(old)
