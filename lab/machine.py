"""Network settings that a guest inherits from this machine: apt, PyPI, DNS, CAs."""

import configparser
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from lab.command import run
from lab.errors import LabError

SUITES = {12: "bookworm", 13: "trixie"}
DEBIAN = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
LOCAL_AUTHORITIES = Path("/usr/local/share/ca-certificates")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# Only how to reach a mirror, not which packages to prefer or remove.
APT_NETWORK = re.compile(
    r"Acquire::(?:https?::(?:Proxy|CAInfo|Verify|Timeout|User-Agent)"
    r"|Check-Valid-Until|Check-Date|Retries|ForceIPv[46])[^\"]* \"[^\"]+\";"
)
PIP_NETWORK = ("index-url", "extra-index-url", "proxy", "timeout", "trusted-host")


def apt_sources(debian: int, etc: Path = Path("/etc")) -> str:
    """The guest's debian.sources: this machine's mirrors if it runs Debian, or Debian's own."""
    suite = SUITES[debian]
    security = _stanza(_mirrors(etc)[1], [f"{suite}-security"])
    return archive_source([suite, f"{suite}-updates"], etc) + "\n" + security


def archive_source(suites: Iterable[str], etc: Path = Path("/etc")) -> str:
    """A source of Debian's archive with these suites."""
    return _stanza(_mirrors(etc)[0], suites)


def apt_options() -> list[str]:
    """Lines for apt.conf.d: proxies, timeouts and date checks, from this machine's apt-config."""
    kept = [line for line in run("apt-config", "dump").splitlines() if APT_NETWORK.fullmatch(line)]
    for scheme in ("http", "https"):
        proxy = os.environ.get(f"{scheme}_proxy")
        if proxy:
            kept.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return kept


def pip_conf(etc: Path = Path("/etc")) -> str:
    """The guest's pip.conf: only network settings, as the guest has none of our folders."""
    settings = _pip_file(etc / "pip.conf")
    for key in PIP_NETWORK:
        value = os.environ.get("PIP_" + key.upper().replace("-", "_"))
        settings |= {key: value} if value else {}
    settings = {k: v for k, v in settings.items() if k in PIP_NETWORK and "file:" not in v}
    if authorities():
        settings["cert"] = BUNDLE
    if not settings:
        return ""
    return "[global]\n" + "".join(f"{k} = {v}\n" for k, v in sorted(settings.items()))


def uv_toml() -> str:
    """The guest's uv.toml: by default uv uses its own CA list, not the system's."""
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    lines = ["system-certs = true"] if authorities() else []
    if index and index.startswith("http"):
        lines.append(f'[[index]]\nurl = "{index}"\ndefault = true')
    return "".join(f"{line}\n" for line in lines)


def authorities() -> dict[str, str]:
    """CA certificates that this machine's administrator added, by file name."""
    return {path.name: path.read_text() for path in sorted(LOCAL_AUTHORITIES.glob("**/*.crt"))}


def resolv_conf(etc: Path = Path("/etc"), runs: Path = Path("/run")) -> str:
    """This machine's resolv.conf without name servers on its loopback, which no guest reaches."""
    for candidate in (etc / "resolv.conf", runs / "systemd/resolve/resolv.conf"):
        text = candidate.read_text() if candidate.exists() else ""
        lines = [line for line in text.splitlines() if not re.match(r"\s*[#;]|\s*$", line)]
        servers = [line for line in lines if line.startswith("nameserver")]
        reachable = [s for s in servers if not re.match(r"nameserver\s+(127\.|::1)", s)]
        if reachable:
            rest = [line for line in lines if line not in servers]
            return "\n".join(reachable + rest) + "\n"
    raise LabError(
        "A guest could not resolve names: /etc/resolv.conf names only servers on the loopback, "
        "and there is no /run/systemd/resolve/resolv.conf. Add a reachable server to the first."
    )


def mtu() -> int:
    """The uplink's MTU: a guest with a larger one loses its large packets."""
    routes = json.loads(run("ip", "-json", "route", "show", "default") or "[]")
    if not routes:
        return 1500
    return int(json.loads(run("ip", "-json", "link", "show", routes[0]["dev"]))[0]["mtu"])


def _stanza(uri: str, suites: Iterable[str]) -> str:
    return (
        f"Types: deb\nURIs: {uri}\nSuites: {' '.join(suites)}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )


def _mirrors(etc: Path) -> tuple[str, str]:
    codename = _codename(etc)
    uris: dict[str, str] = {}
    for suite, uri in _deb822(etc) + _one_line(etc) if codename else []:
        uris.setdefault(suite, uri)
    return uris.get(f"{codename}", DEBIAN), uris.get(f"{codename}-security", SECURITY)


def _codename(etc: Path) -> str | None:
    release = (etc / "os-release").read_text() if (etc / "os-release").exists() else ""
    found = dict(re.findall(r"^(\w+)=\"?([^\"\n]*)", release, re.MULTILINE))
    return found.get("VERSION_CODENAME") if found.get("ID") == "debian" else None


def _deb822(etc: Path) -> list[tuple[str, str]]:
    pairs = []
    for path in sorted((etc / "apt/sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([\w-]+):\s*(.+)$", stanza, re.MULTILINE))
            if fields.get("Enabled", "yes") == "yes" and "URIs" in fields:
                uri = fields["URIs"].split()[0]
                pairs += [(suite, uri) for suite in fields.get("Suites", "").split()]
    return pairs


def _one_line(etc: Path) -> list[tuple[str, str]]:
    files = [etc / "apt/sources.list", *sorted((etc / "apt/sources.list.d").glob("*.list"))]
    text = "\n".join(path.read_text() for path in files if path.exists())
    found = re.findall(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)", text, re.MULTILINE)
    return [(suite, uri) for uri, suite in found]


def _pip_file(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    parser.read(path)
    return dict(parser["global"]) if parser.has_section("global") else {}
