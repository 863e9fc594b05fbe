"""lab/machine.py: which settings a guest inherits, and which not."""

from pathlib import Path

import pytest

from lab import machine
from lab.errors import LabError

KEYS = "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    for variable in ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_PROXY", "UV_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    monkeypatch.setattr(machine, "LOCAL_AUTHORITIES", tmp_path / "ca-certificates")
    return tmp_path


def release(etc: Path, name: str, codename: str) -> None:
    (etc / "os-release").write_text(f'ID={name}\nVERSION_CODENAME="{codename}"\n')


def test_a_guest_gets_this_debian_machines_mirrors_with_its_own_suites(etc: Path) -> None:
    release(etc, "debian", "bookworm")
    (etc / "apt/sources.list.d/debian.sources").write_text(
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://off.test/debian\nSuites: bookworm-security\n\n"
        "Types: deb\nURIs: http://mirror.test/security\nSuites: bookworm-security\n"
    )
    assert machine.apt_sources(13, etc) == (
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie trixie-updates\n"
        f"Components: main\n{KEYS}\n\n"
        "Types: deb\nURIs: http://mirror.test/security\nSuites: trixie-security\n"
        f"Components: main\n{KEYS}\n"
    )


def test_one_line_sources_are_read_too(etc: Path) -> None:
    release(etc, "debian", "trixie")
    (etc / "apt/sources.list").write_text(
        "# deb http://old.test/debian trixie main\n"
        "deb [arch=amd64 signed-by=/x.gpg] https://mirror.test/debian trixie main contrib\n"
    )
    sources = machine.apt_sources(12, etc)
    assert "URIs: https://mirror.test/debian\nSuites: bookworm bookworm-updates\n" in sources
    assert "URIs: http://deb.debian.org/debian-security\n" in sources


def test_other_machines_get_debians_own_mirrors(etc: Path) -> None:
    release(etc, "ubuntu", "noble")
    (etc / "apt/sources.list").write_text("deb http://archive.ubuntu.test/ubuntu noble main\n")
    assert "ubuntu" not in machine.apt_sources(12, etc)
    assert "URIs: http://deb.debian.org/debian\n" in machine.apt_sources(12, etc)


def test_apt_keeps_network_options_only(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = (
        'APT::Install-Recommends "0";\nAcquire::http::Proxy "http://proxy.test:3128";\n'
        'Acquire::Check-Date "false";\nAcquire::https::Proxy "";\nAcquire::Languages "none";\n'
    )
    monkeypatch.setattr(machine, "run", lambda *_: dump)
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setenv("https_proxy", "http://other.test")
    assert machine.apt_options() == [
        'Acquire::http::Proxy "http://proxy.test:3128";',
        'Acquire::Check-Date "false";',
        'Acquire::https::Proxy "http://other.test";',
    ]


def test_pip_keeps_network_settings_only(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (etc / "pip.conf").write_text(
        "[global]\nfind-links = /srv/wheels\nextra-index-url = file:///srv/simple\n"
        "index-url = https://pypi.test/simple\ncert = /srv/ca.pem\n[install]\nuser = true\n"
    )
    monkeypatch.setenv("PIP_PROXY", "http://proxy.test")
    assert machine.pip_conf(etc) == (
        "[global]\nindex-url = https://pypi.test/simple\nproxy = http://proxy.test\n"
    )


def test_without_settings_the_guest_gets_no_files(etc: Path) -> None:
    assert (machine.pip_conf(etc), machine.uv_toml(), machine.authorities()) == ("", "", {})


def test_an_added_authority_is_trusted_by_pip_and_uv_too(etc: Path) -> None:
    (etc / "ca-certificates/company").mkdir(parents=True)
    (etc / "ca-certificates/company/root.crt").write_text("PEM")
    assert machine.authorities() == {"root.crt": "PEM"}
    assert machine.pip_conf(etc) == "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n"
    assert machine.uv_toml() == "system-certs = true\n"


def test_uvs_index_is_inherited(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert etc.exists()
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://pypi.test/simple")
    assert machine.uv_toml() == '[[index]]\nurl = "https://pypi.test/simple"\ndefault = true\n'


def test_name_servers_come_from_resolv_conf(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("# mine\nsearch a.test\nnameserver 192.0.2.53\n")
    assert machine.resolv_conf(tmp_path, tmp_path) == "nameserver 192.0.2.53\nsearch a.test\n"


def test_behind_systemd_resolved_the_upstream_servers_are_used(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\noptions edns0\n")
    (tmp_path / "systemd/resolve").mkdir(parents=True)
    (tmp_path / "systemd/resolve/resolv.conf").write_text("nameserver 192.0.2.53\n")
    assert machine.resolv_conf(tmp_path, tmp_path) == "nameserver 192.0.2.53\n"


def test_only_a_resolver_on_the_loopback_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\nnameserver ::1\n")
    with pytest.raises(LabError, match="names only servers on the loopback"):
        machine.resolv_conf(tmp_path, tmp_path)
