"""What the environment sets, checked before anything else starts."""

import os
import sys
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    HttpUrl,
    PlainValidator,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

# Gunicorn starts a worker that exits with any other code again, without end.
# https://github.com/benoitc/gunicorn/blob/master/gunicorn/arbiter.py (WORKER_BOOT_ERROR)
EXIT_CANNOT_START = 3

SECRET_KEY_LENGTH = 32  # characters

# Connections kept free for superusers (PostgreSQL's own 3), a migration, a dump, and a person.
FREE_CONNECTIONS = 10
# What the queue's worker takes: two for the queue, two for its jobs.
WORKER_CONNECTIONS = 4
# With more than this, requests only wait inside PostgreSQL instead of outside.
LARGEST_POOL = 10
LEAST_POOL = 2
# Of a worker's connections, those for redirects: each is held for a tenth of a millisecond.
READERS = 3


def asyncpg_url(value: Any) -> URL:
    """The address of a PostgreSQL database, from libpq's form to that of SQLAlchemy with asyncpg.

    Raises:
        ValueError: `value` is not an address of the form `postgresql://...`.
    """
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        # Theirs may quote a part of the password.
        raise ValueError("not an address") from None
    if url.drivername != "postgresql":
        raise ValueError(f"the scheme is {url.drivername!r}, not 'postgresql'")
    # asyncpg takes libpq's words for it, under another name.
    query = {"ssl" if key == "sslmode" else key: text for key, text in url.query.items()}
    return url.set(drivername="postgresql+asyncpg", query=query)


def long_enough(key: SecretStr) -> SecretStr:
    """The same key.

    Raises:
        ValueError: it has less than 32 characters.
    """
    if len(key) < SECRET_KEY_LENGTH:
        raise ValueError(f"too short, with {len(key)} characters")
    return key


def pool_size(connections: int, workers: int) -> int:
    """Connections for each web worker: while a release takes over, two of them share them all."""
    release = (connections - FREE_CONNECTIONS) // 2
    return min((release - WORKER_CONNECTIONS) // workers, LARGEST_POOL)


def enough(connections: int, info: ValidationInfo) -> int:
    """The same number.

    Raises:
        ValueError: it leaves a web worker without one to read and one to write.
    """
    workers = info.data.get("web_concurrency", 1)
    if pool_size(connections, workers) < LEAST_POOL:
        raise ValueError(f"{connections} are too few for 2 releases of {workers} workers")
    return connections


class DatabaseSettings(BaseSettings):
    """All that a migration needs. Each field is read from the variable of its name, in capitals."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True)

    database_url: Annotated[URL, NoDecode, PlainValidator(asyncpg_url)] = Field(
        description="an address such as postgresql://links@/links?host=/run/postgresql"
    )


class Settings(DatabaseSettings):
    """All that the app needs."""

    secret_key: Annotated[SecretStr, AfterValidator(long_enough)] = Field(
        description="at least 32 random characters, such as `openssl rand -hex 32` prints"
    )
    base_url: HttpUrl | None = Field(
        default=None,
        description="the public address, such as https://links.example.org, or leave it unset",
    )
    # What Gunicorn reads too, where its configuration has no `workers`.
    web_concurrency: int = Field(
        default_factory=lambda: 2 * (os.cpu_count() or 1) + 1,
        ge=1,
        le=64,
        description="the number of web workers, from 1 to 64",
    )
    database_connections: Annotated[int, AfterValidator(enough)] = Field(
        default=100,
        le=10_000,
        validate_default=True,
        description="PostgreSQL's max_connections, or this app's share of them",
    )
    access_token_seconds: int = Field(
        default=900,
        ge=1,
        le=86_400,
        description="the life of an access token in seconds, at most 86400",
    )
    development: bool = Field(default=False, description="true for logs to read, or false for JSON")

    @property
    def readers(self) -> int:
        """Connections that one web worker may have for redirects."""
        return min(READERS, pool_size(self.database_connections, self.web_concurrency) // 2)

    @property
    def pool_size(self) -> int:
        """Connections that one web worker may have for everything else."""
        return pool_size(self.database_connections, self.web_concurrency) - self.readers

    @property
    def public_address(self) -> str | None:
        """The address that short links start with, without a slash at its end."""
        return str(self.base_url).rstrip("/") if self.base_url else None


AnySettings = TypeVar("AnySettings", bound=DatabaseSettings)


def read_settings(kind: type[AnySettings]) -> AnySettings:
    """The environment as a `kind`.

    Raises:
        SystemExit: a variable is missing or bad; each has been named in a line on stderr.
    """
    try:
        return kind()
    except ValidationError as error:
        for mistake in error.errors():
            print(_line(kind, mistake), file=sys.stderr)
        raise SystemExit(EXIT_CANNOT_START) from None


def _line(kind: type[DatabaseSettings], mistake: ErrorDetails) -> str:
    field = str(mistake["loc"][0])
    found = "missing" if mistake["type"] == "missing" else mistake["msg"]
    wanted = kind.model_fields[field].description
    return f"{field.upper()}: {found.removeprefix('Value error, ')}; set it to {wanted}"
