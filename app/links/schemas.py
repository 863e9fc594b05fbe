"""What goes over the wire."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AnyUrl, BaseModel, UrlConstraints

MAX_URL = 2048  # characters


def _short_enough(url: AnyUrl) -> AnyUrl:
    if len(str(url)) > MAX_URL:
        raise ValueError(f"URL should have at most {MAX_URL} characters when percent-encoded")
    return url


# Only these schemes: a redirect to `javascript:` or `data:` would run in the reader's browser.
Target = Annotated[
    AnyUrl,
    UrlConstraints(allowed_schemes=["http", "https"]),
    AfterValidator(_short_enough),
]


class NewLink(BaseModel):
    """What to shorten."""

    url: Target


class ShortLink(BaseModel):
    """A link as clients see it."""

    code: str
    url: str
    short_url: str
    created_at: datetime


class Page(BaseModel):
    """Links, newest first; `next` is the `after` of the page that follows, null on the last."""

    links: list[ShortLink]
    next: int | None


class Hello(BaseModel):
    """What this is."""

    name: str = "links"
    summary: str = "A small URL shortener: POST a url to /links."
    docs: str = "/docs"
