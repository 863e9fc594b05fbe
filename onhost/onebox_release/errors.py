"""Errors and their exit codes."""


class ReleaseError(Exception):
    """A release could not be built or started. The previous release still serves."""

    code = 1
    result = "failed"  # as recorded in the history


class UnhealthyError(ReleaseError):
    """A release went live and failed during its watch."""


class RolledBackError(ReleaseError):
    """A release went live, failed and was rolled back."""

    result = "rolled back"


class RefusedError(ReleaseError):
    """The request is unsafe on this server; nothing was changed."""

    code = 4
    result = "refused"


class LockedError(ReleaseError):
    """Another command holds this app's lock."""

    code = 3


def describe(error: Exception) -> str:
    """Return an error's message."""
    if isinstance(error, ReleaseError):
        return str(error)
    return f"The operating system reported: {error}" if isinstance(error, OSError) else repr(error)
