"""Why a command stopped, in words for the person who ran it."""


class ReleaseError(Exception):
    """A release could not be built, started or kept. What served before still serves."""

    code = 1


class LockedError(ReleaseError):
    """Somebody else is at work on this server, or has put a hold on it."""

    code = 3


class RefusedError(ReleaseError):
    """What was asked for is not safe here, and nothing was begun."""

    code = 4
