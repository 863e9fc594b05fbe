"""sshd: what our drop-in sets, and whether it is in effect."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from pyinfra import host, logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from operations.difference import Difference, fixes
from operations.program import sent
from operations.users import GROUP
from settings import VM

DROP_IN = "/etc/ssh/sshd_config.d/00-onebox.conf"
# Only OpenSSH's defaults are replaced. An address may hold 10 connections that have not logged in,
# so that a few addresses stay below the 60 from which sshd refuses others.
DEFAULTS = {
    "MaxStartups": ("10:30:100", "60:30:200"),
    "PerSourceMaxStartups": ("none", "10"),
    "PerSourceNetBlockSize": ("32:128", "32:48"),
}
GRACE = 30  # seconds to log in
PENALTY = "max:60"  # seconds until an address whose logins failed, such as CI's, may try again
STRICTER = {"no", "forced-commands-only"}  # than our PermitRootLogin
FILES = {".ssh/authorized_keys", ".ssh/authorized_keys2"}
SYNONYMS = {"prohibit-password": "without-password"}
NOT_IN_EFFECT = (
    f"{DROP_IN} is not in effect: {{found}}. Fix: write `Include /etc/ssh/sshd_config.d/*.conf`"
    " as the first line of /etc/ssh/sshd_config, run `systemctl reload ssh`, then deploy again."
)


@dataclass(frozen=True)
class SshdState:
    """sshd's configuration; settings are by lower-case name."""

    effective: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    """The server's own: those in effect without our drop-in."""
    users_of_second_file: tuple[str, ...] = ()
    """Users with keys in .ssh/authorized_keys2."""


class Sshd(FactBase[SshdState]):
    """sshd's configuration."""

    def command(self) -> str:
        """Return the command."""
        return sent("sent.sshd")

    @staticmethod
    def default() -> SshdState:
        """Return an empty configuration."""
        return SshdState()

    def process(self, output: list[str]) -> SshdState:
        """Return the configuration."""
        data = json.loads(output[0])
        return SshdState(data["effective"], data["theirs"], tuple(data["second"]))


def options(vm: VM, state: SshdState) -> dict[str, str]:
    """Return what our drop-in sets; it never loosens a setting of the server's own."""
    own = state.own
    result = {
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "X11Forwarding": "no",
        "DenyGroups": GROUP,
    }
    if vm.ssh_user == "root" or own.get("permitrootlogin") not in STRICTER:
        result["PermitRootLogin"] = "prohibit-password"
    others = {*state.users_of_second_file} - ({vm.ssh_user} if vm.authorized_keys else set())
    if not others and {*own.get("authorizedkeysfile", "").split()} <= FILES:
        result["AuthorizedKeysFile"] = ".ssh/authorized_keys"
    return result | _connection_limits(own)


def _connection_limits(own: Mapping[str, str]) -> dict[str, str]:
    result = {}
    if not 0 < int(own.get("logingracetime", "0")) <= GRACE:
        result["LoginGraceTime"] = str(GRACE)
    for name, (default, ours) in DEFAULTS.items():
        if own.get(name.lower(), default) == default:
            result[name] = ours
    if "max:600" in own.get("persourcepenalties", ""):  # OpenSSH before 9.8 has none
        result["PerSourcePenalties"] = PENALTY
    return result


@operation()
def check_effective(expected: Mapping[str, str]) -> Generator[FunctionCommand, None, None]:
    """Fail where another file overrides what our drop-in sets."""
    state: SshdState = host.get_fact(Sshd)
    if found := differences(state.effective, expected):
        yield fixes(FunctionCommand(_fail, (found,), {}), *found)


def differences(effective: Mapping[str, str], expected: Mapping[str, str]) -> list[Difference]:
    """Return the settings that differ from the expected ones."""
    found = []
    for name, value in expected.items():
        current = effective.get(name.lower(), "")
        is_list = name in {"DenyGroups", "PerSourcePenalties"}
        if not (value in current.split() if is_list else current == SYNONYMS.get(value, value)):
            found.append(Difference("sshd", f"{name} is {current or 'not set'}, not {value}"))
    return found


def _fail(state: State, host: Host, found: list[Difference]) -> bool:
    del state
    message = NOT_IN_EFFECT.format(found="; ".join(each.how for each in found))
    host.log_styled(message, fg="red", log_func=logger.error)
    return False
