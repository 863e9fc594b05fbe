"""lab/cli.py: plain errors, and the shapes of what it prints."""

import json
from pathlib import Path

import pytest

from lab import cli, hosts, network, power, preflight, record, reserve, snapshot
from lab.errors import LabError
from lab.place import Lab
from lab.record import Record
from lab.reserve import Wish


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab of records alone."""
    made = Lab(root=tmp_path / "root", cache=tmp_path / "cache")
    monkeypatch.setenv("ONEBOX_LAB_ROOT", str(made.root))
    monkeypatch.setenv("ONEBOX_LAB_CACHE", str(made.cache))
    monkeypatch.setattr(preflight, "check", lambda: None)
    monkeypatch.setattr(hosts, "sweep", lambda _: None)
    monkeypatch.setattr(power, "is_on", lambda *_: False)
    monkeypatch.setattr(network, "_in_use", list)
    made.hosts.mkdir(parents=True)
    return made


@pytest.fixture
def web(lab: Lab) -> Record:
    made = Record(
        name="web",
        number=11,
        debian=12,
        address="10.213.0.11",
        address6="fd6f::b",
        domains=("web.onebox.test",),
        state="ready",
        memory=1 << 30,
    )
    record.save(lab, made)
    return made


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
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
def test_an_unknown_host_is_answered_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("ssh", "reboot", "poweroff", "start", "down"):
        assert said(capsys, command, "wob") == "lab: There is no host 'wob'. There are: web.\n"
    assert said(capsys, "ssh", "../web") == "lab: There is no host '../web'. There are: web.\n"


@pytest.mark.usefixtures("lab")
def test_an_empty_lab_says_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "start", "web") == ("lab: There is no host 'web'. Make one: lab up web\n")
    assert said(capsys, "down") == "lab: There is no host to take down.\n"


@pytest.mark.usefixtures("web")
def test_a_stopped_host_says_how_to_start_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "ssh", "web") == "lab: web is not running. Start it: lab start web\n"
    assert said(capsys, "reboot", "web") == "lab: web is not running. Start it: lab start web\n"


@pytest.mark.usefixtures("web")
def test_down_without_a_name_asks_where_there_are_several(
    lab: Lab, web: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    record.save(lab, Record(**{**vars(web), "name": "db", "number": 12}))
    assert said(capsys, "down") == (
        "lab: Say which host: lab down NAME, or lab down --all. There are: db, web.\n"
    )


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("web", "There is a host 'web' already. Take another name, or remove it: lab down web"),
        ("acme", "'acme' is the lab's own ACME server. Take another name."),
        ("Web", "'Web' is no name for a host: use a lower-case letter, then up to 20"),
        ("a" * 22, f"'{'a' * 22}' is no name for a host: use a lower-case letter, then up to 20"),
        ("../x", "'../x' is no name for a host: use a lower-case letter, then up to 20"),
    ],
)
def test_a_name_that_can_not_be_is_refused(
    capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    assert said(capsys, "up", name).startswith(f"lab: {why}")


@pytest.mark.usefixtures("web")
def test_a_name_is_made_where_none_is_given(lab: Lab) -> None:
    assert reserve.reserve(lab, Wish()).name == "lab1"
    second = reserve.reserve(lab, Wish(domains=["www.test"]))
    assert (second.name, second.domains) == ("lab2", ("lab2.onebox.test", "www.test"))
    assert second.number == 13
    assert second.debian == 13


def test_an_unknown_snapshot_is_answered_with_those_there_are(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "up", "--from", "x") == (
        "lab: There is no snapshot 'x'. Make one of a host: lab snapshot HOST x\n"
    )
    (lab.snapshots / "y").mkdir(parents=True)
    (lab.snapshots / "y/snapshot.json").write_text(
        '{"name": "y", "debian": 12, "lower": ["snapshots/y/tree"], "domains": ["a.test"]}'
    )
    assert said(capsys, "forget", "x") == (
        "lab: There is no snapshot 'x'. There are: y. Make one of a host: lab snapshot HOST x\n"
    )
    assert said(capsys, "up", "--from", "y", "--debian", "13") == (
        "lab: Snapshot 'y' is of Debian 12: leave --debian away.\n"
    )
    copy = reserve.reserve(lab, Wish(name="copy", snapshot="y"))
    assert (copy.debian, copy.lower) == (12, ("snapshots/y/tree",))
    assert copy.domains == ("copy.onebox.test", "a.test")


def test_a_cut_off_snapshot_is_removed_by_the_next_command(lab: Lab) -> None:
    (lab.snapshots / ".making-x.1.1/tree").mkdir(parents=True)
    snapshot.sweep(lab)
    assert list(lab.snapshots.iterdir()) == []


@pytest.mark.usefixtures("lab")
def test_an_owner_that_is_gone_is_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="--owner 4194305: there is no such process"):
        reserve.reserve(lab, Wish(owner=4194305))
    assert record.names(lab) == []


@pytest.mark.usefixtures("lab")
def test_a_failure_of_the_machine_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Lab) -> None:
        raise OSError(28, "No space left on device", "/var/lib/onebox-lab/x")

    monkeypatch.setattr(hosts, "sweep", full)
    assert said(capsys, "list") == "lab: /var/lib/onebox-lab/x: No space left on device\n"
