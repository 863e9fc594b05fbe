"""What a person reads when the environment is wrong."""

import os

import pytest

from links.settings import asyncpg_url
from tests.conftest import SECRET_KEY, run, settings

URL = "postgresql://links@/links?host=/run/postgresql"
GOOD = {"DATABASE_URL": URL, "SECRET_KEY": SECRET_KEY}

DATABASE_URL_HELP = "set it to an address such as postgresql://links@/links?host=/run/postgresql"
SECRET_KEY_HELP = "set it to at least 32 random characters, such as `openssl rand -hex 32` prints"
BASE_URL_HELP = "set it to the public address, such as https://links.example.org, or leave it unset"


def start(**environment: str) -> tuple[int, str]:
    """The exit code and the messages of importing what the server imports."""
    result = run("-c", "import links.main", **environment)
    return result.returncode, result.stderr


def test_a_good_environment_starts_in_silence() -> None:
    assert start(**GOOD) == (0, "")


def test_every_missing_variable_has_a_line() -> None:
    assert start() == (
        3,
        f"DATABASE_URL: missing; {DATABASE_URL_HELP}\nSECRET_KEY: missing; {SECRET_KEY_HELP}\n",
    )


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("DATABASE_URL", "", f"missing; {DATABASE_URL_HELP}"),
        ("DATABASE_URL", "links", f"not an address; {DATABASE_URL_HELP}"),
        ("DATABASE_URL", "postgresql://u:p@ss:word@h/d", f"not an address; {DATABASE_URL_HELP}"),
        (
            "DATABASE_URL",
            "mysql://links@/links",
            f"the scheme is 'mysql', not 'postgresql'; {DATABASE_URL_HELP}",
        ),
        ("SECRET_KEY", "a" * 31, f"too short, with 31 characters; {SECRET_KEY_HELP}"),
        (
            "WEB_CONCURRENCY",
            "0",
            (
                "Input should be greater than or equal to 1;"
                " set it to the number of web workers, from 1 to 64"
            ),
        ),
        (
            "DATABASE_CONNECTIONS",
            "20",
            (
                f"20 are too few for 2 releases of {2 * (os.cpu_count() or 1) + 1} workers;"
                " set it to PostgreSQL's max_connections, or this app's share of them"
            ),
        ),
        ("BASE_URL", "ftp://a", f"URL scheme should be 'http' or 'https'; {BASE_URL_HELP}"),
    ],
)
def test_a_bad_variable_has_a_line(name: str, value: str, line: str) -> None:
    assert start(**GOOD | {name: value}) == (3, f"{name}: {line}\n")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (URL, "postgresql+asyncpg://links@/links?host=%2Frun%2Fpostgresql"),
        ("postgresql://u:p%40ss@h:5433/d", "postgresql+asyncpg://u:p%40ss@h:5433/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
    ],
)
def test_the_address_becomes_that_of_asyncpg(given: str, wanted: str) -> None:
    assert asyncpg_url(given).render_as_string(hide_password=False) == wanted


def test_no_secret_shows() -> None:
    shown = repr(settings("postgresql://u:hunter2@h/d"))
    assert "hunter2" not in shown
    assert SECRET_KEY not in shown
