"""The hot path: from a code to its target, in one query."""

from fastapi import APIRouter, HTTPException, Request, status
from fastapi.responses import RedirectResponse
from starlette.convertors import StringConvertor, register_url_convertor

from links.problems import responses
from links.schemas import CODE, RESERVED

LIVE = "SELECT id, url FROM links WHERE code = $1 AND (expires_at IS NULL OR expires_at > now())"


class CodeConvertor(StringConvertor):
    """A path of one segment that can be a code, and is none of our own paths."""

    regex = f"(?!(?:{'|'.join(sorted(RESERVED))})$){CODE}"


register_url_convertor("code", CodeConvertor())
router = APIRouter()


@router.get(
    "/{code:code}",
    status_code=status.HTTP_307_TEMPORARY_REDIRECT,
    response_class=RedirectResponse,
    responses=responses(404),
)
async def follow(code: str, request: Request) -> RedirectResponse:
    """Go where a code leads."""
    found = await request.app.state.reader.fetchrow(LIVE, code)
    if found is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such link")
    request.app.state.clicks.count(found["id"])
    return RedirectResponse(found["url"])
