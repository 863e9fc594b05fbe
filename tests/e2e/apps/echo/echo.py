"""An ASGI app without a framework that returns what it received, and runs commands."""

import asyncio
import hashlib
import json
import os
import subprocess
from collections import deque
from typing import Any
from urllib.parse import parse_qs

REACHED: deque[dict[str, Any]] = deque(maxlen=20_000)
OWN = {"/", "/reached", "/sized"}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the client, the scheme, the headers and the environment, as JSON.

    A shell in the app's sandbox runs what is posted to /: for throwaway servers only. Requests for
    other paths are recorded; /reached returns them. /sized?bytes=9&wait=0.1 answers with 9 bytes
    after 0.1 s. WebSocket messages are echoed.
    """
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
        return
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    data: dict[str, Any] = {
        "client": scope["client"][0],
        "scheme": scope["scheme"],
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "environment": {k: v for k, v in os.environ.items() if k.startswith("ECHO_")},
    }
    body = b""
    while scope["path"] != "/" and (part := await receive())["type"] == "http.request":
        body += part["body"]
        if not part.get("more_body"):
            break
    if scope["path"] not in OWN:
        REACHED.append(described(scope, body))
    if scope["path"] == "/reached":
        data = {"reached": list(REACHED)}
    elif scope["path"] == "/sized":
        await sized(parse_qs(scope["query_string"].decode()), send)
        return
    elif scope["path"] == "/" and scope["method"] == "POST":
        command = ["sh", "-c", (await receive())["body"].decode()]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        data = {"code": ran.returncode, "output": ran.stdout + ran.stderr}
    answer = json.dumps(data).encode()
    length = str(len(answer)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def described(scope: Any, body: bytes) -> dict[str, Any]:
    """Return a request as the app received it."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return {
        "method": scope.get("method", "WEBSOCKET"),
        "path": scope["path"],
        "client": scope["client"][0],
        "headers": headers,
        "length": len(body),
        "digest": hashlib.sha256(body).hexdigest(),
    }


async def sized(query: dict[str, list[str]], send: Any) -> None:
    """Answer with `bytes` bytes, after `wait` seconds."""
    await asyncio.sleep(float(query.get("wait", ["0"])[0]))
    rest = int(query.get("bytes", ["0"])[0])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while rest > 0:
        part = {"type": "http.response.body", "body": b"x" * min(rest, 65_536), "more_body": True}
        await send(part)
        rest -= 65_536
    await send({"type": "http.response.body", "body": b""})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Echo each message."""
    await receive()
    REACHED.append(described(scope, b""))
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text") or ""})
