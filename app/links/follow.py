"""The hot path: from a code to its target, in one query."""

import re

from fastapi import APIRouter, HTTPException, Request, status
from fastapi.responses import RedirectResponse

from links.problems import responses

CODE = re.compile("[0-9A-Za-z_-]{3,32}")

LIVE = "SELECT id, url FROM links WHERE code = $1 AND (expires_at IS NULL OR expires_at > now())"

router = APIRouter()


@router.get(
    "/{code}",
    status_code=status.HTTP_307_TEMPORARY_REDIRECT,
    response_class=RedirectResponse,
    responses=responses(404),
)
async def follow(code: str, request: Request) -> RedirectResponse:
    """Go where a code leads."""
    # PostgreSQL refuses some strings outright, such as those with a NUL in them.
    if not CODE.fullmatch(code):
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such link")
    found = await request.app.state.reader.fetchrow(LIVE, code)
    if found is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such link")
    request.app.state.clicks.count(found["id"])
    return RedirectResponse(found["url"])
