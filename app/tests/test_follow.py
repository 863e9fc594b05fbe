"""The redirect."""

import httpx
import pytest

from tests.cluster import Cluster
from tests.conftest import TARGET, shorten
from tests.test_routes import in_days


def test_redirect(user: httpx.Client) -> None:
    code = shorten(user)["code"]
    del user.headers["authorization"]
    answer = user.get("/" + code)
    assert answer.status_code == 307
    assert answer.headers["location"] == TARGET


def test_an_unknown_code_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/aaaaaaa")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no such link"


@pytest.mark.parametrize("code", ["ab", "a" * 33, "aaaaaa%00", "%ff", "a%20b", "docs", "a/b"])
def test_what_can_be_no_code_is_not_found(client: httpx.Client, code: str) -> None:
    answer = client.get("/" + code)
    assert answer.status_code == 404
    assert answer.json()["detail"] == "Not Found"


def test_an_expired_link_is_not_found(user: httpx.Client, cluster: Cluster, database: str) -> None:
    code = shorten(user, expires_at=in_days(1))["code"]
    assert user.get("/" + code).status_code == 307
    cluster.sql("UPDATE links SET expires_at = now()", database=database)
    assert user.get("/" + code).status_code == 404


def test_an_edit_shows_at_once(user: httpx.Client) -> None:
    code = shorten(user)["code"]
    assert user.get("/" + code).headers["location"] == TARGET
    user.patch(f"/links/{code}", json={"url": "https://example.net/"})
    assert user.get("/" + code).headers["location"] == "https://example.net/"


def test_a_link_from_before_there_were_users_leads_on(
    client: httpx.Client, cluster: Cluster, database: str
) -> None:
    cluster.sql("INSERT INTO links (code, url) VALUES ('abcdefg', 'http://a/')", database=database)
    assert client.get("/abcdefg").headers["location"] == "http://a/"
