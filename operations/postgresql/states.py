"""A cluster's roles and databases: as described by the inventory, and as found on the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Database:
    """An app's database, its role, and the role that owns the schema."""

    name: str
    owner: str
    lock_timeout: int
    """Seconds."""
    statement_timeout: int
    """Seconds."""
    connections: int
    """Maximum of the app's connections, for two releases together."""
    owner_connections: int
    """Maximum of its migrations' connections."""
    temp_file_limit: int
    """MiB of temporary files per session."""

    @property
    def settings(self) -> tuple[str, ...]:
        """Return the settings of both roles, which they can't change."""
        return (f"temp_file_limit={self.temp_file_limit}MB",)

    @property
    def owner_settings(self) -> tuple[str, ...]:
        """Return the settings of migrations; asyncpg ignores PGOPTIONS."""
        return (
            f"lock_timeout={self.lock_timeout}s",
            f"statement_timeout={self.statement_timeout}s",
            *self.settings,
        )


@dataclass(frozen=True)
class RoleState:
    """A role."""

    attributes: tuple[str, ...] = ()
    """Those by which it differs from a role with LOGIN alone, such as SUPERUSER."""
    connections: int = -1
    """Connection limit; -1 is none."""
    has_password: bool = False
    settings: tuple[str, ...] = ()
    is_member: bool = False
    """Whether it is a member of another role."""


@dataclass(frozen=True)
class DatabaseState:
    """A database, and the roles with privileges on it besides its owner."""

    owner: str
    is_open: bool = True
    """Whether it accepts connections without a limit, and is no template."""
    connect: tuple[str, ...] = ()
    temporary: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    """What a database contains."""

    default_privileges: Mapping[str, list[str]] = field(default_factory=dict)
    """The app's privileges on new tables ("r") and sequences ("S") of the owner."""
    other_owners: tuple[str, ...] = ()
    """Roles that own objects which should be the owner's."""


@dataclass(frozen=True)
class ClusterState:
    """A cluster's roles and databases by name, and the content of the requested databases."""

    roles: Mapping[str, RoleState] = field(default_factory=dict)
    databases: Mapping[str, DatabaseState] = field(default_factory=dict)
    contents: tuple[Content, ...] = ()
