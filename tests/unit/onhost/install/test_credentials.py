"""Credentials for the installation alone: taken once, and gone."""

from __future__ import annotations

import json

import pytest
from onebox_release.app import App
from onebox_release.core import identity, release
from onebox_release.install import credentials
from onebox_release.install.credentials import Credentials

from tests.unit.onhost.fake_server import Server

DOCUMENT = json.dumps({"environment": {"UV_INDEX_CORP_PASSWORD": "s3cret"}, "key": "KEY\n"})


def test_they_are_for_root_alone_and_taken_once(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.store(app, "what a dead one left")
    path = credentials.store(app, DOCUMENT)
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv(credentials.VARIABLE, str(path))
    assert credentials.take() == Credentials({"UV_INDEX_CORP_PASSWORD": "s3cret"}, "KEY\n")
    assert not path.exists()
    assert credentials.take() == Credentials()


def test_they_are_never_printed() -> None:
    given = Credentials({"USER": "s3", "PASSWORD": "s3cret", "EMPTY": ""}, "KEY")
    assert given.hidden_in("https://s3:s3cret@host") == "https://***:***@host"
    assert "s3cret" not in repr(given)
    assert "KEY" not in repr(given)


def test_a_deploy_with_nothing_to_do_leaves_none(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make("new", live="new")
    server.remember(("deploy", "new", "succeeded"))
    monkeypatch.setattr(identity, "release_of", lambda app, _: app.release("new"))
    path = credentials.store(server.app, DOCUMENT)
    monkeypatch.setenv(credentials.VARIABLE, str(path))
    release.deploy(server.app, "digest", consent=False)
    assert not path.exists()
