"""A release has unit files of its own, which outlast what becomes of the app's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from onebox_release.core import release_units
from onebox_release.paths import Places

from tests.unit.onhost.server import PARAMETERS

TARGET = "[Unit]\nWants=links-web@%i.service links-queue@%i.service\n"
# Of the apps links-other and links-x.
OTHERS = ("links-other-web@.service", "links-other-web@a-1.service", "links-x@a-1.target")
KINDS = ("-queue@{}.service", "-web@{}.service", "-web@{}.socket", "@{}.target")


@pytest.fixture
def units(places: Places) -> Path:
    """The folder of units, with the app's templates and another app's."""
    folder = places.units_folder
    (folder / "links@.target").write_text(TARGET)
    for name in ("web@.service", "web@.socket", "queue@.service", "migrate@.service"):
        (folder / f"links-{name}").write_text(f"# {name}\n")
    for name in OTHERS:
        (folder / name).touch()
    return folder


def names(places: Places, release: str) -> list[str]:
    return [path.name for path in release_units.of(places, release)]


def test_a_release_has_copies_of_the_templates(places: Places, units: Path) -> None:
    assert release_units.of(places, "a-1") == []
    release_units.make(places, PARAMETERS, "a-1")
    assert names(places, "a-1") == [f"links{kind.format('a-1')}" for kind in KINDS]
    (units / "links-web@.service").write_text("another")
    assert (units / "links-web@a-1.service").read_text() == "# web@.service\n"
    assert (units / "links-web@a-1.service").stat().st_mode & 0o777 == 0o644


def test_a_twin_has_what_its_release_has(places: Places, units: Path) -> None:
    release_units.make(places, PARAMETERS, "a-1")
    release_units.make_twin(places, "a-1", "a-1.twin")
    assert names(places, "a-1.twin") == [f"links{kind.format('a-1.twin')}" for kind in KINDS]
    assert names(places, "a-1") == [f"links{kind.format('a-1')}" for kind in KINDS]
    release_units.remove(places, "a-1.twin")
    assert names(places, "a-1.twin") == []
    assert len(names(places, "a-1")) == len(KINDS)
    assert (units / "links-other-web@a-1.service").exists()


def test_a_release_has_the_processes_that_it_was_made_with(places: Places, units: Path) -> None:
    release_units.make(places, PARAMETERS, "a-1")
    later = replace(PARAMETERS, processes=["mailer"])
    (units / "links@.target").write_text(TARGET.replace("queue", "mailer"))
    (units / "links-mailer@.service").touch()
    release_units.make(places, later, "b-2")
    assert release_units.processes(places, later, "a-1") == ["web", "queue"]
    assert release_units.services(places, later, "b-2") == [
        "links-web@b-2.service", "links-mailer@b-2.service"
    ]  # fmt: skip
    assert release_units.known(places, later) == ["mailer", "queue"]


@pytest.mark.usefixtures("units")
def test_a_release_of_an_older_onebox_has_todays(places: Places) -> None:
    assert release_units.services(places, PARAMETERS, "a-1") == [
        "links-web@a-1.service", "links-queue@a-1.service"
    ]  # fmt: skip
    assert release_units.known(places, PARAMETERS) == ["queue"]


def test_what_is_not_kept_goes(places: Places, units: Path) -> None:
    for release in ("a-1", "b-2"):
        release_units.make(places, PARAMETERS, release)
    release_units.prune(places, {"b-2"})
    assert (names(places, "a-1"), len(names(places, "b-2"))) == ([], len(KINDS))
    release_units.prune(places, set())
    assert sorted(path.name for path in units.iterdir()) == [
        "links-migrate@.service", *OTHERS[:2], "links-queue@.service", "links-web@.service",
        "links-web@.socket", OTHERS[2], "links@.target",
    ]  # fmt: skip
