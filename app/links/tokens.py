"""Access tokens: who a request is from, without asking the database."""

from datetime import UTC, datetime, timedelta

import jwt

from links.settings import Settings

ALGORITHM = "HS256"
ISSUER = "links"


def access_token(user: int, settings: Settings) -> str:
    """A token that names the user, until it expires."""
    now = datetime.now(UTC)
    claims = {
        "iss": ISSUER,
        "sub": str(user),
        "iat": now,
        "exp": now + timedelta(seconds=settings.access_token_seconds),
    }
    return jwt.encode(claims, settings.secret_key.get_secret_value(), ALGORITHM)


def user_of(token: str, settings: Settings) -> int | None:
    """The user whom a token names; None if it isn't ours, is expired, or was changed."""
    try:
        claims = jwt.decode(
            token,
            settings.secret_key.get_secret_value(),
            # Named here and never read from the token, which could say "none".
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            options={"require": ["exp", "iss", "sub"]},
        )
    except jwt.InvalidTokenError:
        return None
    return int(claims["sub"])
