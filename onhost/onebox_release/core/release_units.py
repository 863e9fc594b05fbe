"""A release's own unit files, independent of the app's current templates.

The deployer writes an app's templates, NAME-web@.service and others, before a release made from
them has been tested. So each release has copies under its own name, which systemd prefers to a
template: a reboot after a failed deploy starts the live release unchanged, and a rollback restores
the processes of its release too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from onebox_release.app import App, Release
from onebox_release.host import durable

ALONE = "X-Onebox-Alone=yes"  # systemd ignores keys that start with X-


def write(release: Release) -> None:
    """Write copies of the current templates for a release."""
    for template in _templates(release.app):
        durable.write(_own_path(template, release), template.read_text(), 0o644)


def copy_for(release: Release, twin: Release) -> None:
    """Copy a release's unit files for its twin."""
    for path in units_of(release):
        name = path.name.replace(f"@{release}.", f"@{twin}.")
        durable.write(path.with_name(name), path.read_text(), 0o644)


def units_of(release: Release) -> list[Path]:
    """Return a release's own unit files; none for releases of an older onebox."""
    return sorted(path for path, whose in all_units(release.app) if whose == release)


def remove(release: Release) -> None:
    """Delete a release's own unit files."""
    for path in units_of(release):
        path.unlink()


def prune(app: App, kept: set[str]) -> None:
    """Delete the unit files of all releases except these."""
    for path, release in all_units(app):
        if release.id not in kept:
            path.unlink()


def processes(release: Release) -> list[str]:
    """Return the names of a release's processes from its target, `web` first."""
    target = release.app.units_folder / release.target
    if not target.is_file():
        return ["web", *release.app.parameters.processes]
    name = re.escape(release.app.name)
    return re.findall(rf"[ =]{name}-([a-z0-9]+)@%i\.service", target.read_text())


def exclusive(release: Release) -> set[str]:
    """Return the names of a release's processes that must not run beside another release's."""
    paths = (path for path in units_of(release) if path.suffix == ".service")
    marked = (path.name for path in paths if ALONE in path.read_text().splitlines())
    return {name.removeprefix(f"{release.app.name}-").partition("@")[0] for name in marked}


def services(release: Release) -> list[str]:
    """Return the service units of a release's processes, that of `web` first."""
    return [release.unit(name) for name in processes(release)]


def all_processes(app: App) -> list[str]:
    """Return the names of processes other than `web` of all installed releases."""
    found = set(app.parameters.processes)
    for release in {release for _, release in all_units(app)}:
        found.update(processes(release))
    return sorted(found - {"web"})


def all_units(app: App) -> Iterator[tuple[Path, Release]]:
    """Yield the unit files of all releases of this app, each with its release.

    Other apps' names may share its prefix: `links-x@a.target` belongs to the app `links-x`, while
    `links-x@a.service` is the process `x` of `links`.
    """
    name = re.escape(app.name)
    pattern = re.compile(rf"({name}@|{name}-web@|{name}-[a-z0-9]+@)(.+)\.(target|socket|service)")
    kinds = {f"{app.name}@": {"target"}, f"{app.name}-web@": {"socket", "service"}}
    for path in app.units_folder.glob(f"{app.name}*@*.*"):
        found = pattern.fullmatch(path.name)
        if found and found[3] in kinds.get(found[1], {"service"}):
            yield path, app.release(found[2])


def _templates(app: App) -> list[Path]:
    migration = app.release("").migration
    return [path for path in app.templates() if path.name != migration]


def _own_path(template: Path, release: Release) -> Path:
    return template.with_name(template.name.replace("@.", f"@{release}."))
