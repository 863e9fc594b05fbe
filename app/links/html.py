"""What every page shares: templates, headers, and mistakes in words."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request, Response, status
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

HEADERS = {
    # Nothing but our own style sheet and forms: no script runs here, whoever smuggles one in.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # It shows one user's links: not to the next one who presses the back button.
    "Cache-Control": "no-store",
}

_templates = Jinja2Templates(Path(__file__).parent / "templates")

Model = TypeVar("Model", bound=BaseModel)


def render(request: Request, template: str, error: str | None = None, **values: Any) -> Response:
    """A page; with an error, of status 422."""
    code = status.HTTP_422_UNPROCESSABLE_CONTENT if error else status.HTTP_200_OK
    shown = {"error": error, "form": {}, **values}
    return _templates.TemplateResponse(request, template, shown, code, HEADERS)


def to(path: str) -> Response:
    """Go on to another page, with a GET: reloading that one sends no form again."""
    return RedirectResponse(path, status.HTTP_303_SEE_OTHER)


def checked(model: type[Model], **values: Any) -> Model | str:
    """A form's values as a model, or what is wrong with them."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        return "; ".join(map(_sentence, error.errors()))


def end_of(day: str) -> datetime | str | None:
    """The end of the day that a date field holds, or what else it holds."""
    try:
        start = datetime.combine(datetime.strptime(day, "%Y-%m-%d"), time(), UTC)  # noqa: DTZ007
        return start + timedelta(days=1)
    except (ValueError, OverflowError):
        return day or None


def _sentence(mistake: ErrorDetails) -> str:
    field = str(mistake["loc"][0]).replace("_at", "").replace("url", "address")
    return f"{field.capitalize()}: {mistake['msg'].removeprefix('Value error, ')}"
