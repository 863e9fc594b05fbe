"""The same input is the same release."""

from __future__ import annotations

import os
import platform
import stat
from pathlib import Path
from typing import Any

import pytest
from onebox_release.app import App
from onebox_release.core import identity
from onebox_release.errors import RefusedError


@pytest.fixture
def configured(app: App) -> App:
    for name in identity.CONFIGURATION:
        (app.configuration / name).write_text(name)
    return app


def unit(app: App, name: str) -> Path:
    return app.root / "etc/systemd/system" / name


def test_a_release_is_artifact_and_configuration(configured: App) -> None:
    release = identity.release_of(configured, "digest")
    artifact, _, configuration = release.id.partition("-")
    assert artifact == identity.artifact("digest")
    assert configuration == identity.configuration(configured)
    assert (len(artifact), len(configuration)) == (12, 8)
    assert identity.release_of(configured, "digest") == release


@pytest.mark.parametrize("name", identity.CONFIGURATION)
def test_a_changed_file_is_another_configuration(configured: App, name: str) -> None:
    before = identity.configuration(configured)
    (configured.configuration / name).write_text("changed")
    assert identity.configuration(configured) != before


def test_a_changed_unit_is_another_configuration_and_other_apps_units_are_not(
    configured: App,
) -> None:
    before = identity.configuration(configured)
    unit(configured, "links-other-web@.service").write_text("another app's")
    assert identity.configuration(configured) == before
    unit(configured, "links-queue@.service").write_text("ours")
    assert identity.configuration(configured) != before


def test_content_that_moves_from_one_file_to_the_next_is_seen(configured: App) -> None:
    folder = configured.configuration
    seen = set()
    for first, second in (("ab", "c"), ("a", "bc"), ("abc", "")):
        (folder / "app.env").write_text(first)
        (folder / "generated.env").write_text(second)
        seen.add(identity.configuration(configured))
    assert len(seen) == 3


def test_another_server_has_another_key(configured: App) -> None:
    before = identity.configuration(configured)
    configured.key.unlink()
    assert identity.configuration(configured) != before


def test_the_key_is_made_once_for_root_alone(configured: App) -> None:
    identity.configuration(configured)
    key = configured.key.read_bytes()
    identity.configuration(configured)
    assert configured.key.read_bytes() == key
    assert len(key) == 32
    assert stat.S_IMODE(configured.key.stat().st_mode) == 0o600
    assert [path.name for path in configured.key.parent.iterdir()] == ["revision.key"]


def test_of_two_that_make_the_key_at_once_the_first_wins(
    configured: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def second(new: Any, path: Any) -> None:
        Path(path).write_bytes(b"first")
        link(new, path)

    monkeypatch.setattr(os, "link", second)
    identity.configuration(configured)
    assert configured.key.read_bytes() == b"first"


def test_another_python_or_architecture_is_another_artifact(
    app: App,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = {identity.artifact("digest") + identity.environment_key(b"lock", app)}
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    made.add(identity.artifact("digest") + identity.environment_key(b"lock", app))
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "99", "1"))
    made.add(identity.artifact("digest") + identity.environment_key(b"lock", app))
    assert len(made) == 3


def test_a_patch_release_of_python_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "11", "2"))
    before = identity.artifact("digest")
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "11", "9"))
    assert identity.artifact("digest") == before


def test_a_renewed_release_and_environment_are_others(configured: App) -> None:
    def ids() -> tuple[str, str]:
        key = identity.environment_key(b"lock", configured)
        return identity.release_of(configured, "digest").id, key

    made = [ids()]
    for environment in (True, False, True):
        identity.renew(configured, environment=environment)
        made.append(ids())
    assert ids() == made[-1]
    assert len({release for release, _ in made}) == 4
    assert len({key for _, key in made}) == 3
    assert made[1][1] == made[2][1]
    assert len({release.split("-")[0] for release, _ in made}) == 1


def test_two_archives_that_become_the_same_release_are_refused(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a prepared pair does: the second would be deployed as "live already"."""
    app.incoming("aa").write_bytes(b"")
    identity.check_unique(app, "aa")
    identity.check_unique(app, "bb")
    monkeypatch.setattr(identity, "artifact", lambda _: "0123456789ab")
    identity.check_unique(app, "aa")
    with pytest.raises(RefusedError, match="bb and aa have the same release id, 0123456789ab"):
        identity.check_unique(app, "bb")


def test_an_environments_name_can_not_be_searched_for(app: App) -> None:
    assert len(identity.environment_key(b"lock", app)) == 32
