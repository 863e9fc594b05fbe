"""Puts the app together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from links import health, routes
from links.database import make_engine
from links.refusal import refuse
from links.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """An app that opens its database connections when it starts and closes them when it stops.

    It starts without a database too: whether there is one is for `/health/ready` to say.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.settings = settings
        app.state.engine = make_engine(settings.database_url)
        yield
        await app.state.engine.dispose()

    app = FastAPI(title="links", summary="A small URL shortener.", lifespan=lifespan)
    app.exception_handler(RequestValidationError)(refuse)
    app.include_router(health.router)
    # Last, because /{code} matches any path of one segment.
    app.include_router(routes.router)
    return app
