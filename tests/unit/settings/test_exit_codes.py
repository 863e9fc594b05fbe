"""Exit codes: the same here and on the server."""

from onebox_release.errors import LockedError, RefusedError, ReleaseError

from settings.exit_codes import FAILED, LOCKED, REFUSED


def test_exit_codes_are_those_of_the_server() -> None:
    assert (ReleaseError.code, LockedError.code, RefusedError.code) == (FAILED, LOCKED, REFUSED)
