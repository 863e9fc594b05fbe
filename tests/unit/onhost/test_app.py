"""Names and paths, as the templates and nginx know them."""

from __future__ import annotations

from onebox_release.app import App

APP = App("links")


def test_paths_are_those_of_the_design() -> None:
    assert {
        "release": str(APP.release("a-1").folder),
        "current": str(APP.current),
        "socket": str(APP.release("a-1").socket),
        "environment": str(APP.release("a-1").environment),
        "parameters": str(APP.parameters_file),
        "history": str(APP.history),
        "incoming": str(APP.incoming("abc")),
        "lock": str(APP.lock),
        "progress": str(APP.progress(7)),
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
    assert APP.unit == "onebox-release-links.service"
    assert APP.release("a-1").target == "links@a-1.target"
    assert APP.release("a-1").unit("queue") == "links-queue@a-1.service"
    assert APP.release("a-1").migration == "links-migrate@a-1.service"


def test_unit_files_are_this_apps_alone(app: App) -> None:
    folder = app.root / "etc/systemd/system"
    for name in ("links@.target", "links-web@.service", "links-other-web@.service"):
        (folder / name).touch()
    assert [path.name for path in app.templates()] == [
        "links@.target",
        "links-web@.service",
    ]
