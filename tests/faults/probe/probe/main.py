"""An app that shows the effect of a deploy on requests, sockets and jobs, with faults by KIND."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from probe.behaviour import KIND, NUMBER

STARTED = time.monotonic()
SLOW = 0.05  # seconds that a POST takes

if KIND == "import error":
    raise RuntimeError("broken on purpose: import")
if KIND == "hang":
    time.sleep(3600)
if KIND == "slow start":  # longer than the tests' start_timeout, using the CPU
    while time.monotonic() - STARTED < 12:
        pass


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Open the database; die later, if KIND says so."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=5) as pool:
        app.state.pool = pool
        delay = {"dies while settling": 1.0, "dies later": 20.0}.get(KIND)
        if delay:
            # Kill Gunicorn's master, which ends the whole unit.
            asyncio.get_running_loop().call_later(delay, os.kill, os.getppid(), signal.SIGKILL)
        yield


async def ready(request: Request) -> JSONResponse:
    """Answer 200 if ready. KIND "not ready" answers 503, and "shy" does so to other hosts only."""
    shy = KIND == "shy" and request.headers.get("x-forwarded-for", "unix:") not in {
        "unix:",
        "127.0.0.1",
    }
    return JSONResponse({"number": NUMBER}, 503 if shy or KIND == "not ready" else 200)


async def read(_: Request) -> JSONResponse:
    """Answer at once; KIND "fails later" answers 500 after 5 s."""
    failing = KIND == "fails later" and time.monotonic() - STARTED > 5
    return JSONResponse({"number": NUMBER}, 500 if failing else 200)


async def log_id(request: Request) -> JSONResponse:
    """Write the request's ID to the app's log and PostgreSQL's."""
    key = request.headers["x-request-id"]
    print(f"asked by {key}")
    with suppress(asyncpg.PostgresError):
        await request.app.state.pool.execute(f"select '{key}'::date")
    return JSONResponse({"key": key})


async def write(request: Request) -> JSONResponse:
    """Write a row; take 50 ms in total."""
    start = time.monotonic()
    key = (await request.json())["key"]
    await request.app.state.pool.execute("insert into rows (key) values ($1)", key)
    await asyncio.sleep(max(0, SLOW - (time.monotonic() - start)))
    return JSONResponse({"key": key}, 201)


async def stream(request: Request) -> StreamingResponse:
    """Send a line per second, for `seconds` seconds."""

    async def lines() -> AsyncIterator[str]:
        for number in range(int(request.query_params["seconds"])):
            yield f"{number}\n"
            await asyncio.sleep(1)
        yield "end\n"

    # Otherwise nginx buffers the lines until it has some KiB.
    return StreamingResponse(lines(), headers={"X-Accel-Buffering": "no"})


async def echo(socket: WebSocket) -> None:
    """Echo each message."""
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


routes: list[Any] = [
    Route("/ready", ready),
    Route("/", read),
    Route("/tell", log_id),
    Route("/rows", write, methods=["POST"]),
    Route("/stream", stream),
    WebSocketRoute("/echo", echo),
]
app = Starlette(routes=routes, lifespan=lifespan)
