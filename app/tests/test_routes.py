"""A user's links: create, list, edit, delete, count."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from links import store
from links.application import PARTS, create_app
from links.schemas import CODE, RESERVED
from tests.cluster import APP, Cluster
from tests.conftest import TARGET, register, serving, settings, shorten

FIELDS = {"code", "url", "short_url", "created_at", "expires_at", "checked_at", "fault"}
OWNED = ["GET /links/{}", "PATCH /links/{}", "DELETE /links/{}", "GET /links/{}/clicks"]


def codes(page: httpx.Response) -> list[str]:
    return [link["code"] for link in page.json()["links"]]


def ask(client: httpx.Client, what: str, code: str) -> httpx.Response:
    method, path = what.format(code).split()
    return client.request(method, path, json={} if method == "PATCH" else None)


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_create(user: httpx.Client) -> None:
    link = shorten(user)
    assert link.keys() == FIELDS
    assert re.fullmatch("[0-9A-Za-z]{7}", link["code"])
    assert link["url"] == TARGET
    assert link["short_url"] == f"{user.base_url}/{link['code']}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", link["created_at"])


def test_create_with_a_code_of_ones_own(user: httpx.Client) -> None:
    link = shorten(user, code="my-Code_1", expires_at=in_days(1))
    assert link["code"] == "my-Code_1"
    again = user.post("/links", json={"url": TARGET, "code": "my-Code_1"})
    assert again.status_code == 409
    assert again.json()["detail"] == "this code is taken"


@pytest.mark.parametrize("code", ["ab", "a" * 33, "a b", "a/b", "äää", "a\0bc", *sorted(RESERVED)])
def test_a_bad_code_is_refused(user: httpx.Client, code: str) -> None:
    assert user.post("/links", json={"url": TARGET, "code": code}).status_code == 422


def test_no_code_hides_behind_a_path_of_ours() -> None:
    app = create_app(settings("postgresql://u@h/d"))
    every = [*app.routes, *(route for part in PARTS for route in part.router.routes)]
    firsts = {route.path.split("/")[1] for route in every if hasattr(route, "path")}
    assert {"health", "links", "static", "stats", "metrics"} <= firsts
    assert {word for word in firsts if re.fullmatch(CODE, word)} <= RESERVED


def test_short_url_starts_with_the_public_address(cluster: Cluster, database: str) -> None:
    chosen = settings(cluster.url(APP, database), base_url="https://example.com/")
    with serving(create_app(chosen)) as client:
        register(client)
        link = shorten(client)
    assert link["short_url"] == f"https://example.com/{link['code']}"


@pytest.mark.parametrize("expiry", [-1, -0.001])
def test_an_expiry_that_is_past_is_refused(user: httpx.Client, expiry: float) -> None:
    body = {"url": TARGET, "expires_at": in_days(expiry)}
    assert user.post("/links", json=body).status_code == 422


@pytest.mark.parametrize("expiry", ["2099-01-01", "9999-12-31T23:59:59-12:00", "soon", 1.5e300])
def test_a_bad_expiry_is_refused(user: httpx.Client, expiry: object) -> None:
    body = {"url": TARGET, "expires_at": expiry}
    assert user.post("/links", json=body).status_code == 422


def test_an_unknown_field_is_refused(user: httpx.Client) -> None:
    answer = user.post("/links", json={"url": TARGET, "expire_at": in_days(1)})
    assert answer.json()["detail"] == "body.expire_at: Extra inputs are not permitted"


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
def test_a_bad_url_is_refused(user: httpx.Client, url: str | None) -> None:
    assert user.post("/links", json={"url": url}).status_code == 422
    assert codes(user.get("/links")) == []


@pytest.mark.parametrize("body", ['{"url": "\\ud800"}', '{"url": NaN}', "[1", '"x"', "{}"])
def test_a_bad_body_is_refused(user: httpx.Client, body: str) -> None:
    answer = user.post("/links", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0].keys() == {"loc", "msg", "type"}


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
def test_a_url_is_kept_as_ascii(user: httpx.Client, url: str, kept: str) -> None:
    link = shorten(user, url)
    assert link["url"] == kept
    assert user.get("/" + link["code"]).headers["location"] == kept


def test_a_code_in_use_is_not_given_twice(
    user: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter(["aaaaaaa", "aaaaaaa", "bbbbbbb"])
    monkeypatch.setattr(store, "new_code", lambda: next(tries))
    assert [shorten(user)["code"], shorten(user)["code"]] == ["aaaaaaa", "bbbbbbb"]


def test_creating_gives_up_when_no_code_is_free(
    user: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "new_code", lambda: "aaaaaaa")
    shorten(user)
    assert user.post("/links", json={"url": TARGET}).status_code == 500


def test_pages_list_every_link_once_newest_first(user: httpx.Client) -> None:
    made = [shorten(user)["code"] for _ in range(5)]
    assert codes(user.get("/links")) == made[::-1]
    assert list(walk(user, limit=2)) == [made[:2:-1], made[2:0:-1], made[:1]]


def test_a_page_that_holds_all_has_no_next(user: httpx.Client) -> None:
    shorten(user)
    assert user.get("/links", params={"limit": 1}).json()["next"] is None


def test_a_page_follows_from_its_cursor_though_newer_links_arrive(user: httpx.Client) -> None:
    oldest, _ = shorten(user)["code"], shorten(user)
    after = user.get("/links", params={"limit": 1}).json()["next"]
    shorten(user)
    assert codes(user.get("/links", params={"after": after})) == [oldest]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "after=0", f"after={2**63}", "limit=x"])
def test_a_bad_page_is_refused(user: httpx.Client, query: str) -> None:
    assert user.get("/links?" + query).status_code == 422


def walk(user: httpx.Client, limit: int) -> Iterator[list[str]]:
    """The codes of each page, from the newest on."""
    after: int | None = 2**63 - 1
    while after:
        page = user.get("/links", params={"limit": limit, "after": after})
        yield codes(page)
        after = page.json()["next"]


def test_read(user: httpx.Client) -> None:
    link = shorten(user)
    assert user.get(f"/links/{link['code']}").json() == link


def test_edit_changes_what_is_named(user: httpx.Client) -> None:
    link = shorten(user, expires_at=in_days(1))
    path = f"/links/{link['code']}"
    changed = user.patch(path, json={"url": "https://example.net/"}).json()
    assert changed == link | {"url": "https://example.net/"}
    assert user.patch(path, json={"expires_at": None}).json()["expires_at"] is None
    assert user.patch(path, json={}).json()["url"] == "https://example.net/"


@pytest.mark.parametrize("change", [{"url": None}, {"url": "ftp://a/"}, {"code": "other"}])
def test_a_bad_edit_is_refused(user: httpx.Client, change: dict[str, Any]) -> None:
    link = shorten(user)
    assert user.patch(f"/links/{link['code']}", json=change).status_code == 422
    assert user.get(f"/links/{link['code']}").json() == link


def test_delete(user: httpx.Client) -> None:
    code = shorten(user)["code"]
    assert user.delete(f"/links/{code}").status_code == 204
    assert user.get(f"/{code}").status_code == 404
    assert user.delete(f"/links/{code}").status_code == 404


@pytest.mark.parametrize("what", OWNED)
def test_anothers_link_is_as_good_as_none(
    user: httpx.Client, other: httpx.Client, what: str
) -> None:
    link = shorten(user)
    theirs, none = ask(other, what, link["code"]), ask(other, what, "nothing")
    assert theirs.status_code == none.status_code == 404
    assert theirs.json() == none.json()
    assert user.get(f"/links/{link['code']}").json() == link


def test_each_sees_their_own_links(user: httpx.Client, other: httpx.Client) -> None:
    mine, theirs = shorten(user)["code"], shorten(other)["code"]
    assert codes(user.get("/links")) == [mine]
    assert codes(other.get("/links")) == [theirs]


@pytest.mark.parametrize("what", ["POST /links", "GET /links", *OWNED])
def test_links_need_a_token(client: httpx.Client, what: str) -> None:
    answer = ask(client, what, "nothing")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_clicks_are_counted_by_day(user: httpx.Client, cluster: Cluster, database: str) -> None:
    code = shorten(user)["code"]
    cluster.sql(
        "INSERT INTO clicks SELECT id, (now() at time zone 'utc')::date - 2, 7 FROM links"
        " UNION SELECT id, (now() at time zone 'utc')::date - 30, 99 FROM links",
        database=database,
    )
    days = user.get(f"/links/{code}/clicks").json()
    assert [day["clicks"] for day in days] == [0] * 27 + [7, 0, 0]
    assert days[-1]["day"] == str(datetime.now(UTC).date())
    assert len(user.get(f"/links/{code}/clicks?days=1").json()) == 1


@pytest.mark.parametrize("days", ["0", "367", "x"])
def test_a_bad_number_of_days_is_refused(user: httpx.Client, days: str) -> None:
    assert user.get(f"/links/{shorten(user)['code']}/clicks?days={days}").status_code == 422
