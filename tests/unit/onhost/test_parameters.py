"""How an app is released, as the deployer wrote it down."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from onebox_release import parameters
from onebox_release.app import App
from onebox_release.errors import ReleaseError

from tests.unit.onhost.fake_server import PARAMETERS


def test_parameters_are_read_as_they_were_written(app: App) -> None:
    app.parameters_file.write_text(json.dumps({"schema": 1, "data": asdict(PARAMETERS)}))
    assert parameters.read(app.parameters_file) == PARAMETERS


def test_an_unknown_app_is_reported_with_the_known_ones(app: App) -> None:
    with pytest.raises(ReleaseError, match=r"no app 'links'. Its apps: none\.$"):
        parameters.read(app.parameters_file)
    for name in ("shop", "blog"):
        app.parameters_file.with_name(f"{name}.json").touch()
    with pytest.raises(ReleaseError, match=r"Its apps: blog, shop\.$"):
        parameters.read(app.parameters_file)


def test_a_newer_schema_is_refused(app: App) -> None:
    app.parameters_file.write_text('{"schema": 2, "data": {}}')
    with pytest.raises(ReleaseError, match=r"links\.json has schema 2, expected 1\."):
        parameters.read(app.parameters_file)
