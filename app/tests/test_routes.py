"""Create, list, redirect."""

import re
from collections.abc import Iterator

import httpx
import pytest

from links import store
from links.application import create_app
from tests.cluster import APP, Cluster
from tests.conftest import serving, settings

TARGET = "https://example.org/a?b=c#d"


def shorten(client: httpx.Client, url: str = TARGET) -> dict[str, str]:
    answer = client.post("/links", json={"url": url})
    assert answer.status_code == 201, answer.text
    link: dict[str, str] = answer.json()
    return link


def codes(page: httpx.Response) -> list[str]:
    return [link["code"] for link in page.json()["links"]]


def test_hello_says_what_it_is(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.json()["summary"] == "A small URL shortener: POST a url to /links."


def test_create(client: httpx.Client) -> None:
    link = shorten(client)
    assert link.keys() == {"code", "url", "short_url", "created_at"}
    assert re.fullmatch("[0-9A-Za-z]{7}", link["code"])
    assert link["url"] == TARGET
    assert link["short_url"] == f"{client.base_url}/{link['code']}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", link["created_at"])


def test_short_url_starts_with_the_public_address(cluster: Cluster, database: str) -> None:
    chosen = settings(cluster.url(APP, database), base_url="https://example.com/")
    with serving(create_app(chosen)) as client:
        link = shorten(client)
    assert link["short_url"] == f"https://example.com/{link['code']}"


def test_redirect(client: httpx.Client) -> None:
    answer = client.get("/" + shorten(client)["code"])
    assert answer.status_code == 307
    assert answer.headers["location"] == TARGET


@pytest.mark.parametrize("code", ["aaaaaaa", "aaaaaa", "aaaaaaaa", "aaaaaa%00", "%ff"])
def test_an_unknown_code_is_not_found(client: httpx.Client, code: str) -> None:
    answer = client.get("/" + code)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Not Found"}


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "ftp://example.org/",
        "data:text/html,hi",
        "//example.org/",
        "example.org",
        "https://",
        "",
        "https://example.org/" + "a" * 2029,
        "https://example.org/" + "é" * 1000,
        None,
    ],
)
def test_a_bad_url_is_refused(client: httpx.Client, url: str | None) -> None:
    assert client.post("/links", json={"url": url}).status_code == 422
    assert codes(client.get("/links")) == []


@pytest.mark.parametrize("body", ['{"url": "\\ud800"}', '{"url": NaN}', "[1", '"x"', "{}"])
def test_a_bad_body_is_refused(client: httpx.Client, body: str) -> None:
    answer = client.post("/links", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0].keys() == {"loc", "msg", "type"}


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://example.org", "http://example.org/"),
        ("https://example.org/" + "a" * 2028, "https://example.org/" + "a" * 2028),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://example.org/a\r\nSet-Cookie: b", "https://example.org/aSet-Cookie:%20b"),
        ("https://example.org/\0a", "https://example.org/%00a"),
    ],
)
def test_a_url_is_kept_as_ascii(client: httpx.Client, url: str, kept: str) -> None:
    link = shorten(client, url)
    assert link["url"] == kept
    assert client.get("/" + link["code"]).headers["location"] == kept


def test_a_code_in_use_is_not_given_twice(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter(["aaaaaaa", "aaaaaaa", "bbbbbbb"])
    monkeypatch.setattr(store, "new_code", lambda: next(tries))
    assert [shorten(client)["code"], shorten(client)["code"]] == ["aaaaaaa", "bbbbbbb"]


def test_creating_gives_up_when_no_code_is_free(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "new_code", lambda: "aaaaaaa")
    shorten(client)
    assert client.post("/links", json={"url": TARGET}).status_code == 500


def test_pages_list_every_link_once_newest_first(client: httpx.Client) -> None:
    made = [shorten(client)["code"] for _ in range(5)]
    assert codes(client.get("/links")) == made[::-1]
    assert list(walk(client, limit=2)) == [made[:2:-1], made[2:0:-1], made[:1]]


def test_a_page_that_holds_all_has_no_next(client: httpx.Client) -> None:
    shorten(client)
    assert client.get("/links", params={"limit": 1}).json()["next"] is None


def test_a_page_follows_from_its_cursor_though_newer_links_arrive(client: httpx.Client) -> None:
    oldest, _ = shorten(client)["code"], shorten(client)
    after = client.get("/links", params={"limit": 1}).json()["next"]
    shorten(client)
    assert codes(client.get("/links", params={"after": after})) == [oldest]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "after=0", f"after={2**63}", "limit=x"])
def test_a_bad_page_is_refused(client: httpx.Client, query: str) -> None:
    assert client.get("/links?" + query).status_code == 422


def walk(client: httpx.Client, limit: int) -> Iterator[list[str]]:
    """The codes of each page, from the newest on."""
    after: int | None = 2**63 - 1
    while after:
        page = client.get("/links", params={"limit": limit, "after": after})
        yield codes(page)
        after = page.json()["next"]
