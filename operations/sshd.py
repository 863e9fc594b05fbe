"""sshd: what our drop-in sets, and whether sshd goes by it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host, logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from operations.difference import Difference, mends
from operations.program import sent
from operations.users import GROUP
from settings import VM

DROP_IN = "/etc/ssh/sshd_config.d/00-onebox.conf"
# Whoever has set another value than OpenSSH's default keeps it. One address may hold 10 connections
# that haven't logged in; so a few of them don't reach the 60 from which sshd refuses others.
DEFAULTS = {
    "MaxStartups": ("10:30:100", "60:30:200"),
    "PerSourceMaxStartups": ("none", "10"),
    "PerSourceNetBlockSize": ("32:128", "32:48"),
}
GRACE = 30  # seconds to log in
PENALTY = "max:60"  # seconds: an address that failed to log in, CI's say, is let in again after it
STRICTER = {"no", "forced-commands-only"}  # than what we set for root
FILES = {".ssh/authorized_keys", ".ssh/authorized_keys2"}
SYNONYMS = {"prohibit-password": "without-password"}
NOT_IN_EFFECT = (
    f"sshd does not go by {DROP_IN}: {{found}}. Write `Include /etc/ssh/sshd_config.d/*.conf`"
    " as the first line of /etc/ssh/sshd_config, then `systemctl reload ssh` and deploy again."
)


class Sshd(FactBase[dict[str, Any]]):
    """sshd's settings, those without our drop-in, and who has keys in the second file."""

    def command(self) -> str:
        """Return the command."""
        return sent("sent.sshd")

    @staticmethod
    def default() -> dict[str, Any]:
        """Return what a host says that wasn't asked."""
        return {"effective": {}, "theirs": {}, "second": []}

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return all three, by name."""
        seen: dict[str, Any] = json.loads(output[0])
        return seen


def options(vm: VM, seen: dict[str, Any]) -> dict[str, str]:
    """Return what our drop-in sets: nothing that would let in more than the server's own."""
    theirs: dict[str, str] = seen["theirs"]
    found = {
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "X11Forwarding": "no",
        "DenyGroups": GROUP,
    }
    if vm.ssh_user == "root" or theirs.get("permitrootlogin") not in STRICTER:
        found["PermitRootLogin"] = "prohibit-password"
    second = {*seen["second"]} - ({vm.ssh_user} if vm.authorized_keys else set())
    if not second and {*theirs.get("authorizedkeysfile", "").split()} <= FILES:
        found["AuthorizedKeysFile"] = ".ssh/authorized_keys"
    if not 0 < int(theirs.get("logingracetime", "0")) <= GRACE:
        found["LoginGraceTime"] = str(GRACE)
    for name, (default, ours) in DEFAULTS.items():
        if theirs.get(name.lower(), default) == default:
            found[name] = ours
    if "max:600" in theirs.get("persourcepenalties", ""):  # OpenSSH before 9.8 has none
        found["PerSourcePenalties"] = PENALTY
    return found


@operation()
def in_effect(wanted: Mapping[str, str]) -> Generator[FunctionCommand, None, None]:
    """Fail where sshd doesn't go by what our drop-in sets: another file may come before it."""
    effective: dict[str, str] = host.get_fact(Sshd)["effective"]
    if found := differing(effective, wanted):
        yield mends(FunctionCommand(_refuse, (found,), {}), *found)


def differing(effective: Mapping[str, str], wanted: Mapping[str, str]) -> list[Difference]:
    """Return the settings that are not as they are wanted."""
    found = []
    for name, value in wanted.items():
        there = effective.get(name.lower(), "")
        several = name in {"DenyGroups", "PerSourcePenalties"}
        if not (value in there.split() if several else there == SYNONYMS.get(value, value)):
            how = f"{name} is {there or 'not set'}, not {value}"
            found.append(Difference("sshd", how))
    return found


def _refuse(state: State, host: Host, found: list[Difference]) -> bool:
    del state
    told = NOT_IN_EFFECT.format(found="; ".join(each.how for each in found))
    host.log_styled(told, fg="red", log_func=logger.error)
    return False
