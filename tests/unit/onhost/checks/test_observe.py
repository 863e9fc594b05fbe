"""What a round reads of the firewall and the database."""

from __future__ import annotations

from pathlib import Path

import pytest
from onebox_checks import observe
from onebox_release.host import systemd

TABLE = """table inet onebox {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tct state established,related accept
\t\ttcp dport { 22, 80, 443 } accept
\t}
}
"""
APPS = """table inet onebox_link_local {
\tchain output {
\t\ttype filter hook output priority filter; policy accept;
\t}
}
"""
SSH = 'LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=90,fd=3))\n'
MOVED = SSH.replace(":22 ", ":2222 ") + SSH.replace("0.0.0.0:22 ", "[::]:2222 ")
NGINX = 'LISTEN 0      511             [::]:81           [::]:*    users:(("nginx",pid=7,fd=6))\n'


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (TABLE + APPS + SSH + NGINX, ("", [], True)),
        (TABLE + APPS + MOVED, ("", [2222], True)),
        (TABLE + APPS + MOVED.replace(")\n", ") uid:997 ino:1\n"), ("", [], True)),  # an app's
        (TABLE.replace("drop", "accept") + APPS + SSH, ("was changed", [], True)),
        (TABLE.replace("{ 22, 80, 443 }", "2222") + APPS + MOVED, ("was changed", [], True)),
        (TABLE + SSH, ("", [], False)),
        (APPS + SSH, ("is gone", [], True)),
        (SSH, ("is gone", [], False)),
        ("", ("", [], True)),  # the disk is full
        (None, ("", [], True)),
    ],
)
def test_the_rules_and_what_they_close(
    tmp_path: Path, now: str | None, found: tuple[str, list[int], bool]
) -> None:
    loaded = tmp_path / "onebox-firewall"
    loaded.write_text(TABLE)
    if now is not None:
        (tmp_path / "onebox-firewall.now").write_text(now)
    assert observe.firewall_state(loaded) == found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, ""),
        (b"", ""),
        (b"FATAL:  out of shared memory\nHINT:  more\n", "FATAL:  out of shared memory"),
        (b"\n\xff\x1b[2J\n", "\ufffd\\x1b[2J"),
    ],
)
def test_the_first_line_of_what_kept_the_superuser_out(
    tmp_path: Path, content: bytes | None, found: str
) -> None:
    path = tmp_path / "now"
    if content is not None:
        path.write_bytes(content)
    assert observe.first_line(path) == found


@pytest.mark.parametrize(
    ("unit", "load", "active", "stopped"),
    [
        ("nginx.service", "loaded", "active", False),
        ("nginx.service", "loaded", "reloading", False),
        ("nginx.service", "loaded", "failed", True),
        ("nginx.service", "not-found", "inactive", True),
        ("onebox-timer-links-report.timer", "loaded", "inactive", True),
        ("onebox-timer-links-report.timer", "not-found", "inactive", False),
    ],
)
def test_a_timer_that_no_deploy_has_installed_yet_is_not_stopped(
    monkeypatch: pytest.MonkeyPatch, unit: str, load: str, active: str, *, stopped: bool
) -> None:
    """Its app's release failed, or another app was deployed alone."""
    state = {"LoadState": load, "ActiveState": active}
    monkeypatch.setattr(systemd, "show", lambda *_: state)
    assert observe.is_stopped(unit) is stopped
