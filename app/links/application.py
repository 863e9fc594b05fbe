"""Puts the app together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from links import auth, follow, health, login, metrics, pages, problems, routes
from links.clicks import Clicks
from links.database import make_engine, make_reader
from links.limits import LimitBody
from links.observe import Observe
from links.settings import Settings

# Asked in this order whether a path is theirs: a redirect, which is nearly every request, asks one.
PARTS = (follow, health, metrics, auth, routes, login, pages)


def create_app(settings: Settings) -> FastAPI:
    """An app that opens its database connections when it starts and closes them when it stops.

    It starts without a database too: whether there is one is for `/health/ready` to say.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = make_engine(settings.database_url, settings.pool_size)
        app.state.settings = settings
        app.state.engine = engine
        app.state.reader = await make_reader(settings.database_url, settings.readers)
        app.state.clicks = Clicks(engine)
        counting = asyncio.create_task(app.state.clicks.run())
        watching = asyncio.create_task(metrics.watch(engine))
        yield
        # The server has answered its last request by now.
        app.state.clicks.stop()
        await counting
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await app.state.reader.close()
        await engine.dispose()

    app = FastAPI(
        title="links",
        version="1",
        lifespan=lifespan,
        # No page of documentation: FastAPI's loads its scripts from a CDN, into our origin.
        docs_url=None,
        redoc_url=None,
        # FastAPI would look at each request whether OpenTelemetry is set up. It isn't.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    problems.install(app)
    app.add_middleware(LimitBody)
    app.add_middleware(Observe)  # the outer one
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    for part in PARTS:
        app.include_router(part.router)
    return app
