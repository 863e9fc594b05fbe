"""Why a command stopped, in words for the person who ran it."""


class ReleaseError(Exception):
    """A release could not be built, started or switched to. What served before still serves."""


class LockedError(ReleaseError):
    """Another deploy of the same app is under way."""
