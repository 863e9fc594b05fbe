"""The API does what its OpenAPI document says, whatever is sent to it."""

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

from links.application import create_app
from links.schemas import RESERVED
from links.tokens import access_token
from tests.cluster import APP, Cluster
from tests.conftest import register, serving, settings

Case = schemathesis.Case[Any]

chosen = settings("postgresql://u@h/d")
schema = schemathesis.openapi.from_dict(create_app(chosen).openapi())


# The first user of a database, known before there is one: some requests are made beforehand.
BEARER = f"Bearer {access_token(1, chosen)}"


@schema.auth()
class User:
    """Logs requests in, but for those that are meant to lack it."""

    def get(self, _case: Case, _context: object) -> str:
        """The user's header."""
        return BEARER

    def set(self, case: Case, data: str, _context: object) -> None:
        """Put it in place."""
        case.headers["Authorization"] = data


@pytest.fixture(scope="module")
def other_address(cluster: Cluster, migrated: str, copy: Callable[[str], str]) -> Iterator[str]:
    """An app with a user, on a database of its own."""
    with serving(create_app(settings(cluster.url(APP, copy(migrated))))) as client:
        register(client)
        yield str(client.base_url)


@schema.parametrize()
@hypothesis.settings(max_examples=25, deadline=None)
def test_the_api_keeps_its_contract(case: Case, other_address: str) -> None:
    check(case, other_address)


@pytest.mark.soak
@schema.parametrize()
@hypothesis.settings(max_examples=500, deadline=None)
def test_the_api_keeps_its_contract_for_long(case: Case, other_address: str) -> None:
    check(case, other_address)


def check(case: Case, address: str) -> None:
    """Make a request and check the answer, unless its code makes it a request of another path."""
    codes = case.path_parameters or {}
    hypothesis.assume(case.path != "/{code}" or codes["code"] not in RESERVED)
    case.call_and_validate(base_url=address, excluded_checks=excluded(case))


def excluded(case: Case) -> list[Any]:
    """The checks that would be wrong about this request."""
    # A JSON schema can't say that a time must be to come, or a code not be one of our own paths:
    # some of what it allows is refused with 422.
    makes_links = case.method in ("POST", "PATCH") and case.path.startswith("/links")
    return [positive_data_acceptance] if makes_links else []
