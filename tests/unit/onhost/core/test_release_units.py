"""A release has unit files of its own, which outlast what becomes of the app's."""

from __future__ import annotations

from pathlib import Path

import pytest
from onebox_release.app import App
from onebox_release.core import release_units

TARGET = "[Unit]\nWants=links-web@%i.service links-queue@%i.service\n"
# Of the apps links-other and links-x.
OTHERS = ("links-other-web@.service", "links-other-web@a-1.service", "links-x@a-1.target")
KINDS = ("-queue@{}.service", "-web@{}.service", "-web@{}.socket", "@{}.target")


@pytest.fixture
def units(app: App) -> Path:
    """The folder of units, with the app's templates and another app's."""
    folder = app.units_folder
    (folder / "links@.target").write_text(TARGET)
    for name in ("web@.service", "web@.socket", "queue@.service", "migrate@.service"):
        (folder / f"links-{name}").write_text(f"# {name}\n")
    for name in OTHERS:
        (folder / name).touch()
    return folder


def names(app: App, release: str) -> list[str]:
    return [path.name for path in release_units.units_of(app.release(release))]


def test_a_release_has_copies_of_the_templates(app: App, units: Path) -> None:
    assert release_units.units_of(app.release("a-1")) == []
    release_units.write(app.release("a-1"))
    assert names(app, "a-1") == [f"links{kind.format('a-1')}" for kind in KINDS]
    (units / "links-web@.service").write_text("another")
    assert (units / "links-web@a-1.service").read_text() == "# web@.service\n"
    assert (units / "links-web@a-1.service").stat().st_mode & 0o777 == 0o644


def test_a_twin_has_what_its_release_has(app: App, units: Path) -> None:
    release_units.write(app.release("a-1"))
    release_units.copy_for(app.release("a-1"), app.release("a-1.twin"))
    assert names(app, "a-1.twin") == [f"links{kind.format('a-1.twin')}" for kind in KINDS]
    assert names(app, "a-1") == [f"links{kind.format('a-1')}" for kind in KINDS]
    release_units.remove(app.release("a-1.twin"))
    assert names(app, "a-1.twin") == []
    assert len(names(app, "a-1")) == len(KINDS)
    assert (units / "links-other-web@a-1.service").exists()


def test_a_release_has_the_processes_that_it_was_made_with(app: App, units: Path) -> None:
    release_units.write(app.release("a-1"))
    later = app.with_parameters(processes=["mailer"])
    (units / "links@.target").write_text(TARGET.replace("queue", "mailer"))
    (units / "links-mailer@.service").touch()
    release_units.write(later.release("b-2"))
    assert release_units.processes(later.release("a-1")) == ["web", "queue"]
    assert release_units.services(later.release("b-2")) == [
        "links-web@b-2.service", "links-mailer@b-2.service"
    ]  # fmt: skip
    assert release_units.all_processes(later) == ["mailer", "queue"]


@pytest.mark.usefixtures("units")
def test_a_release_of_an_older_onebox_has_todays(app: App) -> None:
    assert release_units.services(app.release("a-1")) == [
        "links-web@a-1.service", "links-queue@a-1.service"
    ]  # fmt: skip
    assert release_units.all_processes(app) == ["queue"]


def test_what_is_not_kept_goes(app: App, units: Path) -> None:
    for release in ("a-1", "b-2"):
        release_units.write(app.release(release))
    release_units.prune(app, {"b-2"})
    assert (names(app, "a-1"), len(names(app, "b-2"))) == ([], len(KINDS))
    release_units.prune(app, set())
    assert sorted(path.name for path in units.iterdir()) == [
        "links-migrate@.service", *OTHERS[:2], "links-queue@.service", "links-web@.service",
        "links-web@.socket", OTHERS[2], "links@.target",
    ]  # fmt: skip
