"""The page without a browser: who may do what, and what a stranger's text can do."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from links.application import create_app
from links.html import _templates, end_of
from tests.cluster import APP, Cluster
from tests.conftest import PASSWORD, TARGET, serving, settings, shorten

ANN = {"name": "ann", "password": PASSWORD}


def form(client: httpx.Client, path: str, **fields: Any) -> httpx.Response:
    """Send a form as our own page does."""
    return client.post(path, data=fields, headers={"sec-fetch-site": "same-origin"})


@pytest.fixture
def page(client: httpx.Client) -> httpx.Client:
    """A browser, more or less, that is logged in."""
    answer = form(client, "/register", **ANN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return client


@pytest.mark.parametrize("path", ["/", "/stats/abc"])
def test_a_stranger_is_sent_to_log_in(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


@pytest.mark.parametrize("path", ["/", "/stats/abc", "/stats/abc/delete"])
def test_a_strangers_form_is_sent_to_log_in(client: httpx.Client, path: str) -> None:
    assert form(client, path, url=TARGET).headers["location"] == "/login"


def test_the_cookie_is_out_of_reach(page: httpx.Client, cluster: Cluster, database: str) -> None:
    kept = form(page, "/login", **ANN).headers["set-cookie"]
    assert re.fullmatch(r"session=\S+; HttpOnly; Max-Age=1209600; Path=/; SameSite=lax", kept)
    with serving(create_app(settings(cluster.url(APP, database)))) as client:
        client.headers["x-forwarded-proto"] = "https"
        secure = form(client, "/login", **ANN).headers["set-cookie"]
    assert secure.startswith("__Host-session=")
    assert secure.endswith("; Secure")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "origin": "ours"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/login", "/register", "/logout", "/stats/own/delete"])
def test_another_sites_form_does_nothing(
    page: httpx.Client, headers: dict[str, str], path: str
) -> None:
    form(page, "/", url=TARGET, code="own")
    ours = str(page.base_url)
    sent = {key: value.replace("ours", ours) for key, value in headers.items()}
    answer = page.post(path, data={"url": TARGET, **ANN}, headers=sent)
    assert answer.status_code == 403
    assert page.get("/stats/own").status_code == 200


def test_an_older_browsers_form_tells_its_origin(page: httpx.Client) -> None:
    headers = {"origin": str(page.base_url)}
    assert page.post("/", data={"url": TARGET}, headers=headers).status_code == 303


def test_log_out_ends_the_session(page: httpx.Client) -> None:
    cookie = page.cookies["session"]
    assert form(page, "/logout").headers["location"] == "/login"
    assert "session" not in page.cookies
    page.cookies.set("session", cookie)
    assert page.get("/").status_code == 303


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/login", {"name": "ann", "password": "wrong password"}, "no such name with this"),
        ("/login", {"name": "", "password": ""}, "no such name with this"),
        ("/register", ANN, "This name is taken."),
        ("/register", {"name": "A", "password": "x"}, "Name: String should match pattern"),
        ("/", {"url": "javascript:alert(1)"}, "Address: URL scheme should be"),
        ("/", {"url": TARGET, "code": "links"}, "Code: this word is one of"),
        ("/", {"url": TARGET, "code": "own"}, "Code: this one is taken"),
        ("/", {"url": TARGET, "expires": "2020-01-01"}, "Expires: this time is past"),
        ("/", {"url": TARGET, "expires": "soon"}, "Expires: Input should be a valid datetime"),
        ("/stats/own", {"url": ""}, "Address: Input should be a valid URL"),
    ],
)
def test_a_mistake_is_said_on_the_page(
    page: httpx.Client, path: str, fields: dict[str, str], said: str
) -> None:
    form(page, "/", url=TARGET, code="own")
    answer = form(page, path, **fields)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert said in answer.text
    assert PASSWORD not in answer.text


def test_make_change_and_delete_a_link(page: httpx.Client) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    answer = form(page, "/", url=TARGET, code="own", expires=str(tomorrow))
    assert answer.headers["location"] == "/stats/own"
    assert f'value="{tomorrow}"' in page.get("/stats/own").text
    form(page, "/stats/own", url="https://example.net/")
    shown = page.get("/stats/own").text
    assert "https://example.net/" in shown
    assert "never ends" in shown
    assert form(page, "/stats/own/delete").headers["location"] == "/"
    assert page.get("/stats/own").status_code == 404


def test_links_are_listed_in_pages(page: httpx.Client) -> None:
    for n in range(21):
        form(page, "/", url=TARGET, code=f"code-{n}")
    first = page.get("/").text
    assert ("code-20" in first, "code-0<" in first) == (True, False)
    following = re.findall(r'href="(/\?after=\d+)"', first)[0]
    assert "code-0<" in page.get(following).text


def test_anothers_link_is_not_shown(page: httpx.Client, other: httpx.Client) -> None:
    code = shorten(other)["code"]
    assert page.get(f"/stats/{code}").status_code == 404
    form(page, f"/stats/{code}", url="https://evil.example/")
    form(page, f"/stats/{code}/delete")
    assert other.get(f"/links/{code}").json()["url"] == TARGET


def test_a_strangers_text_is_text(page: httpx.Client) -> None:
    answer = form(page, "/", url="https://a/'\"><script>alert(1)</script>", code="<b>&")
    assert "<script>" not in answer.text
    assert "&lt;b&gt;&amp;" in answer.text


@pytest.mark.parametrize("path", ["/", "/login", "/register"])
def test_no_script_runs_here(page: httpx.Client, path: str) -> None:
    answer = page.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self'; ")
    assert "form-action 'self'; base-uri 'none'; frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script|<style|style=|\bon\w+=|(src|href)=.?(https?:)?//", answer.text)


def test_the_style_sheet_is_ours(client: httpx.Client) -> None:
    answer = client.get("/static/links.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert "url(" not in answer.text


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=366))
def test_bars_fit_the_plot_and_keep_their_order(counts: list[int]) -> None:
    days = [(date(2026, 1, 1) + timedelta(n), count) for n, count in enumerate(counts)]
    page = _templates.get_template("stats.html").render(link={}, days=days, form={})
    found = re.findall(r'"bar".* y="(.+?)".* height="(.+?)"', page)
    made = [(float(y), float(high)) for y, high in found]
    assert all(y >= 0 and y + high == pytest.approx(120) for y, high in made)
    for count, (_, high) in zip(counts, made, strict=True):
        assert (high > 0) == (count > 0)
        assert high == 120 or count < max(counts) or count == 0
    heights = [high for _, (_, high) in sorted(zip(counts, made, strict=True))]
    assert heights == sorted(heights)


@given(st.text())
def test_no_date_is_too_odd(text: str) -> None:
    end_of(text)


def test_the_last_day_is_whole() -> None:
    assert end_of("2026-12-31") == datetime(2027, 1, 1, tzinfo=UTC)
    assert end_of("9999-12-31") == "9999-12-31"
    assert end_of("") is None
