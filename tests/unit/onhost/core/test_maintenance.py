"""The maintenance page: clients get it, or it is not left switched on."""

from __future__ import annotations

import pytest
from onebox_release.app import App
from onebox_release.core import maintenance
from onebox_release.errors import ReleaseError
from onebox_release.host import health, nginx, systemd
from onebox_release.host.health import Answer

from operations import tree
from tests.unit.hosts import commands, run


def answering(monkeypatch: pytest.MonkeyPatch, status: int, release: str | None) -> None:
    monkeypatch.setattr(health, "ask", lambda *_: Answer(status, release, ""))


def test_the_page_is_one_file_and_clients_must_get_it(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.state.mkdir(exist_ok=True)
    answering(monkeypatch, 503, None)
    assert maintenance.since(app) is None
    maintenance.enable(app)
    since = maintenance.since(app)
    assert since
    assert app.maintenance.stat().st_mode & 0o777 == 0o644, "nginx looks for it as www-data"
    maintenance.enable(app)
    assert maintenance.since(app) == since
    maintenance.disable(app)
    maintenance.disable(app)
    assert maintenance.since(app) is None


@pytest.mark.parametrize("answer", [(200, "a-1"), (503, "a-1"), (404, None)])
def test_a_page_that_is_not_shown_is_not_left_switched_on(
    app: App, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str | None]
) -> None:
    answering(monkeypatch, *answer)
    with pytest.raises(ReleaseError, match="deploy once"):
        maintenance.enable(app)
    assert not app.maintenance.exists()


def looked(path: str) -> dict[str, str]:
    """Return what the deployer sees of nginx's folder."""
    return tree.TreeStates().process(run(tree.TreeStates().command(path)))


def test_nginx_without_an_app_is_what_the_deployer_would_place(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = {"nginx.conf": "include sites/*;\n", ".onebox/maintenance.html": "x", "sites/b.conf": ""}
    path = str(app.nginx)
    for files in (rest, {**rest, "sites/links.conf": "y"}):
        [command] = commands(tree.install, path, files, "true {}", facts={tree.TreeStates: {}})
        run(command)
        if files == rest:
            wanted = looked(path)
    monkeypatch.setattr(nginx, "TEST", ["true"])
    reloads: list[str] = []
    monkeypatch.setattr(systemd, "systemctl", lambda *words: reloads.append(" ".join(words)))
    for _ in range(2):
        nginx.remove_site(app)
        assert looked(path) == wanted
    assert reloads == ["reload nginx.service"] * 2, "the first may have died before its reload"


def test_nginx_stays_as_it_is_where_it_refuses(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"nginx.conf": "x", "sites/links.conf": "y"}
    path = str(app.nginx)
    [command] = commands(tree.install, path, files, "true {}", facts={tree.TreeStates: {}})
    run(command)
    before = app.nginx.readlink()
    monkeypatch.setattr(nginx, "TEST", ["false"])
    with pytest.raises(ReleaseError, match="rejects"):
        nginx.remove_site(app)
    assert app.nginx.readlink() == before
