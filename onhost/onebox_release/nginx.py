"""nginx's configuration, as far as an app leaves it."""

from __future__ import annotations

import hashlib
import json
import os
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
    if (link / "sites" / f"{places.app}.conf").exists():
        _place(link, f"sites/{places.app}.conf")
    for old in link.parent.glob(f"{link.name}.*"):
        if old.is_dir() and old != link.readlink():
            shutil.rmtree(old)
    systemd.systemctl("reload", "nginx.service")


def _place(link: Path, site: str) -> None:
    paths = (path for path in link.rglob("*") if path.is_file() and path.name != ".sums")
    files = {str(path.relative_to(link)): path.read_text() for path in paths}
    del files[site]
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12]
    new = link.with_name(f"{link.name}.{digest}")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(link, new)
    (new / site).unlink()
    sums = subprocess.run(SUMS, shell=True, cwd=new, check=True, capture_output=True, text=True)  # noqa: S602 - ours
    durable.write(new / ".sums", sums.stdout, 0o644)
    result = subprocess.run(
        [*TEST, str(new / "nginx.conf")], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ReleaseError(f"nginx refuses a configuration without it: {result.stderr}")
    os.sync()
    durable.point(link, str(new))
