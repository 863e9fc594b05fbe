"""What a client hears of a request that doesn't fit."""

from fastapi import Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse


async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
    """FastAPI's answer without the input, which may be nothing that JSON can carry back.

    A NaN or half of a surrogate pair would make an error 500 of a client's mistake.
    """
    shown = [{key: item[key] for key in ("loc", "msg", "type")} for item in error.errors()]
    return JSONResponse({"detail": shown}, status.HTTP_422_UNPROCESSABLE_CONTENT)
