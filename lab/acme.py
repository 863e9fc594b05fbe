"""The lab's own ACME CA: Pebble, with challtestsrv as its DNS server."""

import json
import os
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

import trustme

from lab import cgroup, domains, image, machine, network
from lab.errors import LabError
from lab.layout import Lab
from lab.registry import write_atomically

# Debian 12's Pebble 2.4.0 puts an IP address in the subject, which certbot refuses; Debian
# 13's 2.6.0 has no profiles; forky's 2.10.0 has, and apt takes the newest version.
SUITES = ("trixie", "forky")
NAME = "acme"
API, MANAGEMENT = 14000, 15000
START_SECONDS = 10
DAY = 86400
# Let's Encrypt's names and lifetimes. Pebble picks one at random for an order without one.
PROFILES = {
    "default": {"description": "As classic", "validityPeriod": 90 * DAY},
    "classic": {"description": "The one for everybody", "validityPeriod": 90 * DAY},
    "tlsserver": {"description": "The one for servers", "validityPeriod": 45 * DAY},
    "shortlived": {"description": "160 hours; for IP addresses too", "validityPeriod": 576000},
}
ENVIRONMENT = {
    "PEBBLE_VA_NOSLEEP": "1",
    "PEBBLE_WFE_NONCEREJECT": "0",
    "PEBBLE_AUTHZREUSE": "0",  # validate every order, or a broken challenge passes by luck
}


def recipe() -> image.Recipe:
    """Pebble's package, unpacked but not installed."""
    return image.Recipe(
        kind="acme",
        suite=SUITES[0],
        variant="extract",
        packages=("pebble",),
        sources=machine.archive_source(SUITES),
        options=tuple(machine.apt_options()),
    )


def directory(lab: Lab) -> str:
    """URL for an ACME client, which has to trust `ca_file`."""
    return f"https://{_address(lab)}:{API}/dir"


def ca_file(lab: Lab) -> Path:
    """CA of the ACME server's own HTTPS certificate."""
    return lab.acme / "ca.pem"


def root_file(lab: Lab) -> Path:
    """Root of the certificates that it issues; each start creates a new one."""
    return lab.acme / "root.pem"


def ensure(lab: Lab, tree: Path) -> bool:
    """Start both servers and wait until they answer; return False if they already run."""
    if cgroup.processes(lab, NAME):
        return False
    _clean(lab)
    lab.acme.mkdir(exist_ok=True)
    network.attach(lab, NAME, network.ACME)
    _write_certificates(lab)
    write_atomically(lab.acme / "config.json", json.dumps(config(lab)))
    cgroup.create(lab, NAME)
    _start(lab, tree, "pebble-challtestsrv", domains.arguments())
    pebble = ["-config", str(lab.acme / "config.json"), "-dnsserver", domains.server(lab)]
    _start(lab, tree, "pebble", pebble)
    _export_root(lab)
    return True


def stop(lab: Lab) -> None:
    """Stop both servers and remove their network."""
    _clean(lab)
    for name in ("ca.pem", "root.pem"):
        (lab.acme / name).unlink(missing_ok=True)


def config(lab: Lab) -> dict[str, object]:
    """Pebble's configuration: challenges on the ports that a real CA uses."""
    return {
        "pebble": {
            "listenAddress": f"0.0.0.0:{API}",
            "managementListenAddress": f"0.0.0.0:{MANAGEMENT}",
            "certificate": str(lab.acme / "cert.pem"),
            "privateKey": str(lab.acme / "key.pem"),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "retryAfter": {"authz": 1, "order": 1},
            "certificateValidityPeriod": 90 * DAY,  # 2.6.0 reads only this
            "profiles": PROFILES,
        }
    }


def _address(lab: Lab) -> str:
    return network.subnet(lab).address(network.ACME)


def _clean(lab: Lab) -> None:
    cgroup.kill(lab, NAME)
    cgroup.remove(lab, NAME)
    network.detach(lab, NAME, network.ACME)


def _write_certificates(lab: Lab) -> None:
    net, authority = network.subnet(lab), trustme.CA(organization_name="onebox lab")
    leaf = authority.issue_cert(net.address(network.ACME), net.address6(network.ACME))
    authority.cert_pem.write_to_path(ca_file(lab))
    (lab.acme / "key.pem").touch(0o600)
    leaf.private_key_pem.write_to_path(lab.acme / "key.pem")
    write_atomically(
        lab.acme / "cert.pem", "".join(blob.bytes().decode() for blob in leaf.cert_chain_pems)
    )


def _start(lab: Lab, tree: Path, program: str, arguments: list[str]) -> None:
    # Not `ip netns exec`: its mount namespace would keep every host's mounts busy.
    space = f"--net={network.NETNS / lab.namespace(NAME)}"
    with (lab.acme / f"{program}.log").open("ab") as log:
        subprocess.Popen(
            ["nsenter", space, *_run_in(tree, program), *arguments],
            env=os.environ | ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: cgroup.enter(lab, NAME, "guest"),
        )


def _run_in(tree: Path, program: str) -> list[str]:
    """Command for a program of the tree, with its loader: this machine's libc may be older."""
    loader = next((tree / "usr").glob("lib*/**/ld-linux*.so.*"))
    libraries = next((tree / "usr/lib").glob("*/libc.so.6")).parent
    return [str(loader), "--library-path", str(libraries), str(tree / "usr/bin" / program)]


def _export_root(lab: Lab) -> None:
    url = f"https://{_address(lab)}:{MANAGEMENT}/roots/0"
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            write_atomically(root_file(lab), _get(lab, url), 0o644)
            domains.point(lab, "nobody.invalid", None)
        except OSError:
            if time.monotonic() > deadline:
                raise LabError(_failure(lab)) from None
            time.sleep(0.02)
        else:
            return


def _get(lab: Lab, url: str) -> str:
    trust = ssl.create_default_context(cafile=str(ca_file(lab)))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    with opener.open(url, timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def _failure(lab: Lab) -> str:
    logs = [path.read_text(errors="replace") for path in sorted(lab.acme.glob("*.log"))]
    tail = "\n".join(line for log in logs for line in log.splitlines()[-5:])
    return f"The lab's ACME server does not answer. Last lines of its logs:\n{tail}"
