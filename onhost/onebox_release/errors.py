"""Why a command stopped."""


class ReleaseError(Exception):
    """A release could not be built or started. What served before still serves."""

    code = 1
    result = "failed"  # as the history tells it


class UnhealthyError(ReleaseError):
    """A release went live and did not hold while it was watched."""


class RolledBackError(ReleaseError):
    """A release went live, did not hold, and was rolled back."""

    result = "rolled back"


class RefusedError(ReleaseError):
    """What was asked for is not safe here, and nothing was changed."""

    code = 4
    result = "refused"


class LockedError(ReleaseError):
    """Another command is at work on this app."""

    code = 3


def describe(error: Exception) -> str:
    """Return what went wrong, for a message."""
    if isinstance(error, ReleaseError):
        return str(error)
    return f"The server's system refused: {error}" if isinstance(error, OSError) else repr(error)
