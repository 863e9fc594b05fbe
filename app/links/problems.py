"""Errors as problem details. https://www.rfc-editor.org/rfc/rfc9457"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, status
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from links.logs import route_template

REPORTED = 10  # mistakes of one request: each costs 50 us, and a body has room for 2,000
MEDIA_TYPE = "application/problem+json"
PROBLEM = {"$ref": "#/components/schemas/Problem"}


class Mistake(BaseModel):
    """One thing wrong with a request: where, and what."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    """Why a request failed. The type is always about:blank: the status says what kind it is."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Mistake] | None = None


def problem(
    code: int,
    detail: str,
    errors: list[Mistake] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An answer that tells what went wrong."""
    shown = Problem(title=HTTPStatus(code).phrase, status=code, detail=detail, errors=errors)
    return JSONResponse(jsonable_encoder(shown, exclude_none=True), code, headers, MEDIA_TYPE)


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What a route's documentation says of its errors."""
    return {code: {"model": Problem, "description": HTTPStatus(code).phrase} for code in codes}


# What a body can be: no text, too large, not what the route wants.
BODY = (400, 413, 422)


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    headers = dict(error.headers or {})
    # Starlette names the methods of the first route of a path that has several.
    known = request.app.openapi()["paths"].get(route_template(request.scope), {})
    if error.status_code == status.HTTP_405_METHOD_NOT_ALLOWED and known:
        headers["Allow"] = ", ".join(sorted(method.upper() for method in known))
    return problem(error.status_code, str(error.detail), headers=headers)


async def _validation(_: Request, error: RequestValidationError) -> JSONResponse:
    # Without the input, which may be nothing that JSON can carry back: a NaN or half of a
    # surrogate pair would make an error 500 of a client's mistake.
    found = error.errors()
    mistakes = [Mistake.model_validate(item) for item in found[:REPORTED]]
    detail = "; ".join(f"{'.'.join(map(str, item.loc))}: {item.msg}" for item in mistakes)
    if len(found) > REPORTED:
        detail += f"; and {len(found) - REPORTED} more"
    return problem(status.HTTP_422_UNPROCESSABLE_CONTENT, detail, mistakes)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem, in its answers and in their documentation."""
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(RequestValidationError)(_validation)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    if not app.openapi_schema:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path in document["paths"].values():
            for operation in path.values():
                for response in operation["responses"].values():
                    _as_problem(response)
        app.openapi_schema = document
    return app.openapi_schema


def _as_problem(response: dict[str, Any]) -> None:
    # FastAPI documents every answer as the route's own media type.
    content = response.get("content", {})
    if content.get("application/json", {}).get("schema") == PROBLEM:
        content[MEDIA_TYPE] = content.pop("application/json")
