"""What the log says of a request."""

import json
import logging
import re
from typing import Any

import httpx
import pytest

from links import logs, observe, store
from links.logs import JSONFormatter, RequestInfo, TextFormatter, current
from tests.cluster import APP, Cluster
from tests.conftest import PASSWORD, SECRET_KEY, TARGET, eventually, register, shorten
from tests.test_server import gunicorn

ID = "0123456789abcdef0123456789abcdef"


class Lines(logging.Handler):
    """Keeps lines as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JSONFormatter())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Any:
    handler = Lines()
    logging.getLogger().addHandler(handler)
    yield handler.lines
    logging.getLogger().removeHandler(handler)


def test_a_request_keeps_its_id(client: httpx.Client) -> None:
    answer = client.get("/health/live", headers={"x-request-id": ID})
    assert answer.headers["x-request-id"] == ID


@pytest.mark.parametrize("given", ["", "short", "a" * 65, "a b c d e f", 'a"},{"b":"c'])
def test_an_id_that_could_not_be_ours_is_replaced(client: httpx.Client, given: str) -> None:
    answer = client.get("/health/live", headers={"x-request-id": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_a_line_names_its_request(
    user: httpx.Client, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(store, "new_code", lambda: 1 / 0)
    user.post("/links?token=hush", json={"url": TARGET}, headers={"x-request-id": ID})
    (line,) = [line for line in lines if line["logger"] == "links.observe"]
    assert line["request_id"] == ID
    assert (line["method"], line["route"], line["level"]) == ("POST", "/links", "error")
    assert line["user_id"] > 0
    assert line["duration_ms"] > 0
    assert line["exception"].endswith("ZeroDivisionError: division by zero")
    assert "hush" not in json.dumps(line)


def test_the_servers_lines_name_their_request_too(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    # As late as can be: the answer has been sent, and the server is told.
    monkeypatch.setattr(observe, "_measured", broken)
    client.get("/health/live", headers={"x-request-id": ID})
    (line,) = eventually(lambda: [line for line in lines if "exception" in line], bool)
    assert line["logger"] == "uvicorn.error"
    assert line["request_id"] == ID


def test_a_slow_request_has_a_line(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(observe, "SLOW", 0)
    client.get("/nothing1")
    (line,) = eventually(lambda: [x for x in lines if x["message"] == "slow request"], bool)
    assert line["route"] == "/{code}"


def test_an_answered_request_has_no_line(user: httpx.Client, lines: list[dict[str, Any]]) -> None:
    user.get("/" + shorten(user)["code"])
    assert lines == []


def test_a_line_to_read_names_its_request_too() -> None:
    record = logging.LogRecord("links", logging.INFO, "", 0, "hello", None, None)
    formatter = TextFormatter("%(levelname)s %(name)s: %(message)s")
    assert formatter.format(record) == "INFO links: hello"
    token = current.set(RequestInfo(ID, {"method": "GET"}))
    try:
        line = formatter.format(record)
    finally:
        current.reset(token)
    assert re.fullmatch(rf"INFO links: hello request_id={ID} method=GET duration_ms=\d+\.\d", line)


def test_every_line_of_gunicorn_is_json_and_none_has_a_secret(
    cluster: Cluster, database: str
) -> None:
    with gunicorn(
        DATABASE_URL=cluster.url(APP, database),
        SECRET_KEY=SECRET_KEY,
        GUNICORN_CMD_ARGS="--logger-class=links.logs.GunicornLogger",
    ) as (process, client):
        tokens = register(client)
        shorten(client)
        process.terminate()
        printed = process.communicate(timeout=10)
    assert printed[1] == ""
    found = [json.loads(line) for line in printed[0].splitlines()]
    assert {line["logger"] for line in found} == {"gunicorn.error", "uvicorn.error"}
    for secret in (SECRET_KEY, PASSWORD, *map(str, tokens.values())):
        assert secret == "bearer" or secret not in printed[0] or secret.isdigit()


def test_lines_to_read_in_development(capsys: pytest.CaptureFixture[str]) -> None:
    kept = logging.getLogger().handlers[:]
    try:
        logs.configure(development=True)
        logging.getLogger("links").info("hello")
        logs.configure(development=False)
        logging.getLogger("uvicorn.error").info("hello")
    finally:
        logging.getLogger().handlers[:] = kept
        logging.captureWarnings(capture=False)
    text, as_json = capsys.readouterr().out.splitlines()
    assert text == "INFO links: hello"
    assert json.loads(as_json)["message"] == "hello"
