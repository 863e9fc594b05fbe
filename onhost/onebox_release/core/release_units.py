"""A release's own unit files: what it runs by, whatever is made of the app's.

The deployer writes an app's templates, NAME-web@.service and the like, before anybody knows whether
the release that is made of them is any good. So each release has copies under its own name, which
systemd prefers to a template: a reboot after a failed deploy starts the live release as it was, and
who goes back goes back to its processes, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from onebox_release.host import durable
from onebox_release.parameters import Parameters
from onebox_release.paths import Places

ALONE = "X-Onebox-Alone=yes"  # systemd passes over what begins with X-


def make(places: Places, parameters: Parameters, release: str) -> None:
    """Give a release copies of today's templates."""
    for template in _templates(places, parameters):
        durable.write(_named(template, release), template.read_text(), 0o644)


def make_twin(places: Places, release: str, twin: str) -> None:
    """Give a release's twin what the release has."""
    for path in of(places, release):
        name = path.name.replace(f"@{release}.", f"@{twin}.")
        durable.write(path.with_name(name), path.read_text(), 0o644)


def of(places: Places, release: str) -> list[Path]:
    """Return a release's own unit files; none of one that an older onebox made."""
    return sorted(path for path, whose in every(places) if whose == release)


def remove(places: Places, release: str) -> None:
    """Delete a release's own unit files."""
    for path in of(places, release):
        path.unlink()


def prune(places: Places, kept: set[str]) -> None:
    """Delete the unit files of all releases but these."""
    for path, release in every(places):
        if release not in kept:
            path.unlink()


def processes(places: Places, parameters: Parameters, release: str) -> list[str]:
    """Return the names of a release's processes, `web` first, as its target has them."""
    target = places.units_folder / places.target(release)
    if not target.is_file():
        return ["web", *parameters.processes]
    return re.findall(rf"[ =]{re.escape(places.app)}-([a-z0-9]+)@%i\.service", target.read_text())


def alone(places: Places, release: str) -> set[str]:
    """Return the names of a release's processes that must not run beside another release's."""
    paths = (path for path in of(places, release) if path.suffix == ".service")
    marked = (path.name for path in paths if ALONE in path.read_text().splitlines())
    return {name.removeprefix(f"{places.app}-").partition("@")[0] for name in marked}


def services(places: Places, parameters: Parameters, release: str) -> list[str]:
    """Return the units of a release's processes, the one of `web` first."""
    return [places.process(name, release) for name in processes(places, parameters, release)]


def known(places: Places, parameters: Parameters) -> list[str]:
    """Return the names of the processes beside `web` that any release here has."""
    found = set(parameters.processes)
    for release in {release for _, release in every(places)}:
        found.update(processes(places, parameters, release))
    return sorted(found - {"web"})


def every(places: Places) -> Iterator[tuple[Path, str]]:
    """Yield the unit files of all releases of this app, each with its release.

    Other apps' names may begin the same: `links-x@a.target` is one of the app `links-x`, while
    `links-x@a.service` is the process `x` of `links`.
    """
    app = re.escape(places.app)
    pattern = re.compile(rf"({app}@|{app}-web@|{app}-[a-z0-9]+@)(.+)\.(target|socket|service)")
    kinds = {f"{places.app}@": {"target"}, f"{places.app}-web@": {"socket", "service"}}
    for path in places.units_folder.glob(f"{places.app}*@*.*"):
        found = pattern.fullmatch(path.name)
        if found and found[3] in kinds.get(found[1], {"service"}):
            yield path, found[2]


def _templates(places: Places, parameters: Parameters) -> list[Path]:
    units = places.units(parameters.processes)
    return [path for path in units if path.name != places.migration("")]


def _named(template: Path, release: str) -> Path:
    return template.with_name(template.name.replace("@.", f"@{release}."))
