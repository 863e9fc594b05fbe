"""What goes over the wire."""

from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AnyUrl,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    UrlConstraints,
)

MAX_URL = 2048  # characters
CODE = "[0-9A-Za-z_-]{3,32}"  # a regular expression

# First segments of our own paths: a code must not hide behind one.
# fmt: off
RESERVED = {
    "accounts", "docs", "health", "links", "login", "logout", "metrics", "register", "static",
    "stats", "tokens",
}
# fmt: on


def _short_enough(url: AnyUrl) -> AnyUrl:
    if len(str(url)) > MAX_URL:
        raise ValueError(f"URL should have at most {MAX_URL} characters when percent-encoded")
    return url


def _free(code: str) -> str:
    if code.lower() in RESERVED:
        raise ValueError("this word is one of the site's own paths")
    return code


def _to_come(time: datetime) -> datetime:
    try:
        utc = time.astimezone(UTC)
    except OverflowError:
        raise ValueError("this time is out of range") from None
    if utc <= datetime.now(UTC):
        raise ValueError("this time is past")
    return utc


# Only these schemes: a redirect to `javascript:` or `data:` would run in the reader's browser.
Target = Annotated[
    AnyUrl,
    UrlConstraints(allowed_schemes=["http", "https"]),
    AfterValidator(_short_enough),
]
Code = Annotated[str, StringConstraints(pattern=f"^{CODE}$")]
Expiry = Annotated[AwareDatetime, AfterValidator(_to_come)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{2,31}$")]
# Long, and of any characters. https://pages.nist.gov/800-63-4/sp800-63b.html#passwordver
Password = Annotated[SecretStr, Field(min_length=12, max_length=128)]
Token = Annotated[str, StringConstraints(max_length=200)]


class Received(BaseModel):
    """What a client sends: an unknown field is a mistake, most likely a misspelt one."""

    model_config = ConfigDict(extra="forbid")


class Credentials(Received):
    """A name and its password."""

    name: Name
    password: Password


class Refresh(Received):
    """The newest refresh token of a session."""

    refresh_token: Token


class Tokens(BaseModel):
    """An access token for the header Authorization, and one to get the next pair with."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 not one
    expires_in: int = Field(description="seconds that the access token lives")
    refresh_token: str


class NewLink(Received):
    """What to shorten, under which code and until when; by default a free one, and for ever."""

    url: Target
    code: Annotated[Code, AfterValidator(_free)] | None = None
    expires_at: Expiry | None = None


class LinkChange(Received):
    """What to change of a link; what isn't named stays, and an expiry of null is none."""

    # Left out or a URL, but never null.
    url: Target = Field(default=None)  # type: ignore[assignment]
    expires_at: Expiry | None = None


class ShortLink(BaseModel):
    """A link as its owner sees it."""

    code: str
    url: str
    short_url: str
    created_at: datetime
    expires_at: datetime | None
    checked_at: datetime | None = Field(description="when its target was last asked for")
    fault: str | None = Field(description="what was wrong with its target then; null if nothing")


class Page(BaseModel):
    """Links, newest first; `next` is the `after` of the page that follows, null on the last."""

    links: list[ShortLink]
    next: int | None


class Day(BaseModel):
    """The clicks of a day, in UTC."""

    day: date
    clicks: int
