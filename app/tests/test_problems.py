"""Every error is a problem, and no request is too large."""

from collections.abc import Iterator

import httpx
import pytest

from links import store
from links.limits import MAX_BODY
from tests.conftest import TARGET


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [
        ("GET", "/nothing/here", 404, "Not Found"),
        ("DELETE", "/health/live", 405, "Method Not Allowed"),
        ("GET", "/links", 401, "Unauthorized"),
        ("POST", "/tokens", 422, "Unprocessable Content"),
    ],
)
def test_an_error_is_a_problem(
    client: httpx.Client, method: str, path: str, status: int, title: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert problem["title"].startswith(title.split()[0])
    assert problem["detail"]


def test_a_wrong_method_names_the_right_ones(client: httpx.Client) -> None:
    assert client.delete("/health/live").headers["allow"] == "GET"


def test_what_breaks_is_a_problem_without_a_secret(
    user: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise ZeroDivisionError("the secret")

    monkeypatch.setattr(store, "new_code", broken)
    answer = user.post("/links", json={"url": TARGET})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert "secret" not in answer.text


def test_a_body_may_not_be_too_large(client: httpx.Client) -> None:
    answer = client.post("/tokens", content=b"a" * (MAX_BODY + 1))
    assert answer.status_code == 413
    assert answer.json()["detail"] == f"a body may have {MAX_BODY} bytes"
    assert client.post("/tokens", content=b"a" * MAX_BODY).status_code == 422


@pytest.mark.parametrize("path", ["/tokens", "/login"])
def test_a_body_that_does_not_tell_its_size_may_not_be_too_large(
    client: httpx.Client, path: str
) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(MAX_BODY // 1024 + 1):
            yield b"a=" + b"b" * 1022

    kind = "application/json" if path == "/tokens" else "application/x-www-form-urlencoded"
    headers = {"content-type": kind, "origin": str(client.base_url)}
    assert client.post(path, content=body(), headers=headers).status_code == 413


def test_a_body_of_mistakes_has_a_short_answer(client: httpx.Client) -> None:
    fields = {f"{number:x}": 1 for number in range(1500)}
    answer = client.post("/tokens", json=fields)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 10
    assert answer.json()["detail"].endswith(" more")
    assert len(answer.content) < 4000
