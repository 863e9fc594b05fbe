"""The cluster's settings: our file in conf.d, applied without losing one that works."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator
from dataclasses import dataclass

from pyinfra import host, logger
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, fixes
from operations.files import File, FileStates, describe_difference, repair
from operations.postgresql.psql import PSQL, on_one_line

KEPT = "/var/lib/onebox/postgresql"  # the settings that a cluster last started with
START = 60  # seconds for a cluster to start, or to restart with the previous settings
REFUSED = (
    "PostgreSQL did not start with its new settings, and has the previous ones again. Fix: set a"
    " smaller `shared_buffers` or `max_connections` in `postgresql` in the inventory, then deploy"
    " again."
)
SETTINGS = """
with ours as (
  select distinct on (name) name, sourcefile like '%/conf.d/onebox.conf' as last
  from pg_file_settings order by name, seqno desc
)
select json_build_object(
  'pending', (select coalesce(json_agg(name order by name), '[]') from pg_settings
    where pending_restart and name in (select name from ours where last)),
  'foreign', (select coalesce(json_agg(name order by name), '[]') from pg_settings
    where pending_restart and name not in (select name from ours where last)),
  'overridden', (select coalesce(json_agg(distinct name), '[]') from pg_file_settings
    where sourcefile like '%/postgresql.auto.conf' and name in (
      select name from pg_file_settings where sourcefile like '%/conf.d/onebox.conf')))
"""


@dataclass(frozen=True)
class SettingsState:
    """Names of settings in files that are not in effect."""

    pending: tuple[str, ...] = ()
    """Ours that wait for a restart."""
    foreign: tuple[str, ...] = ()
    """Others that wait for a restart."""
    overridden: tuple[str, ...] = ()
    """Ours that ALTER SYSTEM overrides."""


class Settings(FactBase[SettingsState]):
    """Settings in files that are not in effect."""

    def command(self) -> str:
        """Return the command."""
        return f"({PSQL} -c {on_one_line(SETTINGS)} || echo null) 2>/dev/null"

    @staticmethod
    def default() -> SettingsState:
        """Return no settings."""
        return SettingsState()

    def process(self, output: list[str]) -> SettingsState:
        """Return the settings."""
        data = json.loads(output[0]) or {}
        return SettingsState(**{key: tuple(names) for key, names in data.items()})


class Buffers(FactBase[int]):
    """shared_buffers in our settings of a cluster, in MiB; 0 without any."""

    def command(self, path: str) -> str:
        """Return the command."""
        number = "s/^shared_buffers = \\([0-9]*\\)MB$/\\1/p"
        return f"sed -n '{number}' {shlex.quote(path)} 2>/dev/null || true"

    @staticmethod
    def default() -> int:
        """Return 0, for no settings."""
        return 0

    def process(self, output: list[str]) -> int:
        """Return the size."""
        return int(output[0]) if output else 0


@operation()
def configure(file: File, unit: str, instance: str) -> Generator[StringCommand, None, None]:
    """Replace our settings of a cluster, and keep those that it last started with.

    PostgreSQL's unit restores the kept ones if the new ones prevent a start, at a boot too, and
    deletes them after a start: see its drop-in. They are kept before the new ones are written.
    """
    kept = f"{KEPT}/{instance}"
    states = host.get_fact(FileStates, paths=[file.path, f"{kept}.refused"])
    current, refused = states.get(file.path), states.get(f"{kept}.refused")
    if current == file.state:
        return
    if refused and _digest(refused) == _digest(file.state):
        yield _refuse_if_running(unit, kept)
    if current and _digest(current) != _digest(file.state):
        yield _keep(file, unit, kept)
    yield fixes(
        repair(file, current), Difference(file.path, describe_difference(current, file.state))
    )


def _refuse_if_running(unit: str, kept: str) -> StringCommand:
    message = f"{REFUSED} To try the same settings again: rm {kept}.refused"
    return StringCommand(
        f"! systemctl is-active --quiet {unit} || {{ echo {shlex.quote(message)} >&2; false; }}"
    )


def _keep(file: File, unit: str, kept: str) -> StringCommand:
    # Only of an active cluster: systemd retries one every second that can't start with them.
    keep = (
        f"[ -e {kept} ] || {{ cp -a {shlex.quote(file.path)} {kept}.new && sync {kept}.new"
        f" && mv -T {kept}.new {kept} && sync {KEPT}; }}"
    )
    return StringCommand(
        f"rm -f {kept}.tried {kept}.refused;"
        f" if systemctl is-active --quiet {unit}; then {keep}; else rm -f {kept}; fi"
    )


def _digest(state: str) -> str:
    return state.split(" ")[2]


@operation()
def apply_settings(unit: str, file: File, instance: str) -> Generator[StringCommand, None, None]:
    """Put our settings into effect; restart the cluster only if one of them needs it.

    A setting of somebody else never restarts it. Fails if the cluster does not start with ours; it
    then has the previous ones again.
    """
    state: SettingsState = host.get_fact(Settings)
    for name in state.overridden:
        # In a command of its own: ALTER SYSTEM can't run in a transaction.
        reset = f"{PSQL} -c 'alter system reset {name}' -c 'select pg_reload_conf()'"
        difference = Difference(f"setting {name}", "is overridden in postgresql.auto.conf")
        yield fixes(StringCommand(reset), difference)
    if state.foreign:
        logger.warning(
            f"{host.print_prefix}PostgreSQL needs a restart for {', '.join(state.foreign)}, which"
            f" onebox did not set; onebox does not restart it. Run: systemctl restart {unit}"
        )
    elif state.pending:
        restart = StringCommand(_restart(unit, file, instance))
        yield fixes(restart, Difference(unit, "runs with older settings"))


def _restart(unit: str, file: File, instance: str) -> str:
    """Return a command that restarts a cluster, and fails unless it started with a file."""
    log = f"/var/log/postgresql/postgresql-{instance}.log"
    answers = f"{PSQL} -c 'select 1' >/dev/null 2>&1"
    is_new = f"[ $(sha256sum < {shlex.quote(file.path)} | cut -d' ' -f1) = {_digest(file.state)} ]"
    why = f"tail -n 50 {log} | grep -E '\\] (FATAL|HINT): ' | tail -n 2 | cat -v"
    return (
        f"systemctl restart {unit}; tries=0;"
        f" until {answers} || [ $tries -ge {START} ]; do tries=$((tries + 1)); sleep 1; done;"
        f" {is_new} && {answers} || {{ echo {shlex.quote(REFUSED)}; {why}; false; }} >&2"
    )
