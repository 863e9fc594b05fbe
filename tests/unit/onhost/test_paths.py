"""Names and paths, as the templates and nginx know them."""

from __future__ import annotations

from onebox_release.paths import Places

PLACES = Places("links")


def test_paths_are_those_of_the_design() -> None:
    assert {
        "release": str(PLACES.release("a-1")),
        "current": str(PLACES.current),
        "socket": str(PLACES.socket("a-1")),
        "environment": str(PLACES.environment("a-1")),
        "parameters": str(PLACES.parameters),
        "history": str(PLACES.history),
        "incoming": str(PLACES.incoming("abc")),
        "lock": str(PLACES.lock),
        "progress": str(PLACES.progress(7)),
    } == {
        "release": "/srv/links/releases/a-1",
        "current": "/srv/links/current",
        "socket": "/run/links/a-1/web.sock",
        "environment": "/etc/links/releases/a-1.env",
        "parameters": "/etc/onebox/links.json",
        "history": "/var/lib/onebox/links/history.jsonl",
        "incoming": "/var/lib/onebox/links/incoming/abc.tar.gz",
        "lock": "/run/onebox-links.lock",
        "progress": "/run/onebox-release-links.7",
    }


def test_units_are_those_of_the_design() -> None:
    assert PLACES.unit == "onebox-release-links.service"
    assert PLACES.target("a-1") == "links@a-1.target"
    assert PLACES.process("queue", "a-1") == "links-queue@a-1.service"
    assert PLACES.migration("a-1") == "links-migrate@a-1.service"


def test_unit_files_are_this_apps_alone(places: Places) -> None:
    folder = places.root / "etc/systemd/system"
    for name in ("links@.target", "links-web@.service", "links-other-web@.service"):
        (folder / name).touch()
    assert [path.name for path in places.units(["queue"])] == [
        "links@.target",
        "links-web@.service",
    ]
