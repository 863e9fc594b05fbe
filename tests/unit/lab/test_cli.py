"""lab/cli.py: errors and output."""

import json
from dataclasses import replace

import pytest

from lab import allocation, cli, hosts, network, power, preflight, registry
from lab.allocation import HostRequest
from lab.layout import Lab
from lab.registry import HostEntry


@pytest.fixture
def lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The lab of the command line, with a registry alone."""
    monkeypatch.setenv("ONEBOX_LAB_ROOT", str(lab.root))
    monkeypatch.setenv("ONEBOX_LAB_CACHE", str(lab.cache))
    monkeypatch.setattr(preflight, "check", lambda: None)
    monkeypatch.setattr(hosts, "sweep", lambda _: None)
    monkeypatch.setattr(power, "is_on", lambda *_: False)
    monkeypatch.setattr(network, "_in_use", list)
    return lab


@pytest.fixture
def web(lab: Lab, web: HostEntry) -> HostEntry:
    """A stopped host."""
    saved = replace(web, state="ready", memory=1 << 30)
    registry.save(lab, saved)
    return saved


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.usefixtures("web")
def test_list_shows_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == (
        "NAME  STATE    DEBIAN  ADDRESS      MEMORY  CPUS  DISK  UPTIME\n"
        "web   stopped  12      10.213.0.11  1G      -     -     -\n"
    )


@pytest.mark.usefixtures("web")
def test_list_json_has_the_shape_of_all_machine_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    rows = answer.pop("data")
    assert answer == {"schema": 1, "host": None, "app": None}
    assert rows[0]["name"] == "web"
    assert rows[0]["memory"] == 1 << 30
    assert not {"number", "lower", "creator", "owner"} & rows[0].keys()


@pytest.mark.usefixtures("web")
def test_an_error_for_an_unknown_host_lists_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("ssh", "reboot", "poweroff", "start", "down"):
        assert error(capsys, command, "wob") == "lab: There is no host 'wob'. Hosts: web.\n"
    assert error(capsys, "ssh", "../web") == "lab: There is no host '../web'. Hosts: web.\n"


@pytest.mark.usefixtures("lab")
def test_an_error_of_an_empty_lab_gives_the_next_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert error(capsys, "start", "web") == "lab: There is no host 'web'. Create one: lab up web\n"
    assert error(capsys, "down") == "lab: There is no host to remove.\n"


@pytest.mark.usefixtures("web")
def test_an_error_for_a_stopped_host_gives_the_command_to_start_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert error(capsys, "ssh", "web") == "lab: web is not running. Start it: lab start web\n"
    assert error(capsys, "reboot", "web") == "lab: web is not running. Start it: lab start web\n"


@pytest.mark.usefixtures("web")
def test_down_needs_a_name_if_there_are_several_hosts(
    lab: Lab, web: HostEntry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.save(lab, replace(web, name="db", number=12))
    assert error(capsys, "down") == (
        "lab: Name the host: lab down NAME, or lab down --all. Hosts: db, web.\n"
    )


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("web", "Host 'web' already exists. Use another name, or remove it: lab down web"),
        ("acme", "'acme' is reserved for the lab's ACME server. Use another name."),
        ("Web", "'Web' is not a valid name for a host: use a lower-case letter, then up to 20"),
        (
            "a" * 22,
            f"'{'a' * 22}' is not a valid name for a host: use a lower-case letter, then up to 20",
        ),
        ("../x", "'../x' is not a valid name for a host: use a lower-case letter, then up to 20"),
    ],
)
def test_an_invalid_or_used_name_is_refused(
    capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    assert error(capsys, "up", name).startswith(f"lab: {why}")


def test_an_error_for_an_unknown_snapshot_lists_the_known_ones(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error(capsys, "up", "--from", "x") == (
        "lab: There is no snapshot 'x'. Take one of a host: lab snapshot HOST x\n"
    )
    (lab.snapshots / "y").mkdir(parents=True)
    (lab.snapshots / "y/snapshot.json").write_text(
        '{"name": "y", "debian": 12, "lower": ["snapshots/y/tree"], "domains": ["a.test"]}'
    )
    assert error(capsys, "forget", "x") == (
        "lab: There is no snapshot 'x'. Snapshots: y. Take one of a host: lab snapshot HOST x\n"
    )
    assert error(capsys, "up", "--from", "y", "--debian", "13") == (
        "lab: Snapshot 'y' is of Debian 12: omit --debian.\n"
    )
    copy = allocation.allocate(lab, HostRequest(name="copy", snapshot="y"))
    assert (copy.debian, copy.lower) == (12, ("snapshots/y/tree",))
    assert copy.domains == ("copy.onebox.test", "a.test")


@pytest.mark.usefixtures("lab")
def test_a_failure_of_the_machine_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Lab) -> None:
        raise OSError(28, "No space left on device", "/var/lib/onebox-lab/x")

    monkeypatch.setattr(hosts, "sweep", full)
    assert error(capsys, "list") == "lab: /var/lib/onebox-lab/x: No space left on device\n"
