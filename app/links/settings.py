"""What the environment sets, checked before anything else starts."""

import sys
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, HttpUrl, PlainValidator, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

# Gunicorn starts a worker that exits with any other code again, without end.
# https://github.com/benoitc/gunicorn/blob/master/gunicorn/arbiter.py (WORKER_BOOT_ERROR)
EXIT_CANNOT_START = 3

SECRET_KEY_LENGTH = 32  # characters


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
