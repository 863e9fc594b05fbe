"""Accounts, tokens, rotation, revocation."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest

from links import passwords
from links.application import create_app
from tests.cluster import APP, Cluster
from tests.conftest import PASSWORD, SECRET_KEY, register, serving, settings

ANN = {"name": "ann", "password": PASSWORD}


def refresh(client: httpx.Client, token: str) -> httpx.Response:
    return client.post("/tokens/refresh", json={"refresh_token": token})


def with_access(client: httpx.Client, token: str) -> int:
    return client.get("/links", headers={"authorization": f"Bearer {token}"}).status_code


def forged(key: str = SECRET_KEY, algorithm: str = "HS256", **claims: Any) -> str:
    ours = {"iss": "links", "sub": "1", "exp": datetime.now(UTC) + timedelta(minutes=1)}
    return jwt.encode({k: v for k, v in (ours | claims).items() if v}, key, algorithm)


def test_register_and_log_in(client: httpx.Client) -> None:
    registered = register(client)
    assert with_access(client, registered["access_token"]) == 200
    answer = client.post("/tokens", json=ANN)
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert answer.json()["expires_in"] == 900
    assert with_access(client, answer.json()["access_token"]) == 200


def test_a_name_is_taken_once(user: httpx.Client) -> None:
    answer = user.post("/accounts", json=ANN | {"password": "another password"})
    assert answer.status_code == 409
    assert user.post("/tokens", json=ANN).status_code == 200


@pytest.mark.parametrize("name", ["", "ab", "a" * 33, "Ann", "-ann", "a nn", "a\0nn", "änn"])
def test_a_bad_name_is_refused(client: httpx.Client, name: str) -> None:
    assert client.post("/accounts", json=ANN | {"name": name}).status_code == 422


@pytest.mark.parametrize("password", ["a" * 11, "a" * 129, ""])
def test_a_bad_password_is_refused_and_not_repeated(client: httpx.Client, password: str) -> None:
    answer = client.post("/accounts", json=ANN | {"password": password})
    assert answer.status_code == 422
    assert not password or password not in answer.text


@pytest.mark.usefixtures("user")
def test_passwords_are_kept_as_argon2id(cluster: Cluster, database: str) -> None:
    kept = cluster.ask("SELECT password_hash FROM users", database)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize("change", [{"password": "wrong password"}, {"name": "nobody"}])
def test_a_wrong_login_is_the_same_work_and_answer(
    user: httpx.Client, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    checked = []
    verify = passwords._verify

    def counted(hashed: str, password: str) -> bool:
        checked.append(hashed)
        return verify(hashed, password)

    monkeypatch.setattr(passwords, "_verify", counted)
    answer = user.post("/tokens", json=ANN | change)
    assert answer.status_code == 401
    assert answer.json()["detail"] == "no such name with this password"
    assert [hashed[:31] for hashed in checked] == ["$argon2id$v=19$m=19456,t=2,p=1$"]


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "x.y.z",
        forged(key="another key of thirty-two letters"),
        forged(key="a" * 64, algorithm="HS512"),
        forged(key="", algorithm="none"),
        forged(exp=datetime.now(UTC) - timedelta(seconds=1)),
        forged(iss="others"),
        forged(iss=None),
        forged(exp=None),
        forged(sub=None),
    ],
)
def test_a_token_that_is_not_ours_is_refused(user: httpx.Client, token: str) -> None:
    assert with_access(user, token) == 401


def test_an_access_token_expires(cluster: Cluster, database: str) -> None:
    chosen = settings(cluster.url(APP, database), access_token_seconds=1)
    with serving(create_app(chosen)) as client:
        token = register(client)["access_token"]
        assert jwt.decode(token, options={"verify_signature": False})["exp"] <= (
            datetime.now(UTC).timestamp() + 1
        )


def test_a_refresh_token_serves_once(client: httpx.Client) -> None:
    first = register(client)["refresh_token"]
    second = refresh(client, first)
    assert second.status_code == 200
    assert with_access(client, second.json()["access_token"]) == 200
    assert refresh(client, second.json()["refresh_token"]).status_code == 200


def test_a_refresh_token_used_twice_ends_its_session(client: httpx.Client) -> None:
    first = register(client)["refresh_token"]
    elsewhere = client.post("/tokens", json=ANN).json()["refresh_token"]
    second = refresh(client, first).json()["refresh_token"]
    assert refresh(client, first).status_code == 401
    assert refresh(client, second).status_code == 401
    assert refresh(client, elsewhere).status_code == 200


def test_a_revoked_session_is_over(client: httpx.Client) -> None:
    token = register(client)["refresh_token"]
    for _ in range(2):
        answer = client.post("/tokens/revoke", json={"refresh_token": token})
        assert answer.status_code == 204
    assert refresh(client, token).status_code == 401


def test_a_session_expires(client: httpx.Client, cluster: Cluster, database: str) -> None:
    token = register(client)["refresh_token"]
    cluster.sql("UPDATE sessions SET expires_at = now()", database=database)
    assert refresh(client, token).status_code == 401


@pytest.mark.parametrize("token", ["", "x", "." * 200, "\ufffd", "\x00"])
def test_a_refresh_token_that_never_was_is_refused(client: httpx.Client, token: str) -> None:
    assert refresh(client, token).status_code == 401


def test_the_database_holds_no_refresh_token(
    client: httpx.Client, cluster: Cluster, database: str
) -> None:
    secret = register(client)["refresh_token"].partition(".")[2]
    rows = cluster.ask("SELECT encode(secret_hash, 'escape') FROM sessions", database)
    assert secret not in rows
