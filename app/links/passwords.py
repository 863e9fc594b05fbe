"""Passwords, hashed with argon2id."""

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

# 19 MiB, two passes, one lane: OWASP's least, and 20 ms of a core.
# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

# Checked for a user who isn't there, so that the time of an answer doesn't tell which names exist.
_nobody = _hasher.hash("")

# One at a time in each worker: others would take the core, and 19 MiB each, from the redirects.
_one = CapacityLimiter(1)


async def hash_password(password: str) -> str:
    """The hash to keep, made in a thread."""
    return await to_thread.run_sync(_hasher.hash, password, limiter=_one)


async def fits(password: str, hashed: str | None) -> bool:
    """Whether the password is the one hashed; without a hash False, after the same work."""
    right = await to_thread.run_sync(_verify, hashed or _nobody, password, limiter=_one)
    return right and hashed is not None


def _verify(hashed: str, password: str) -> bool:
    try:
        return _hasher.verify(hashed, password)
    except VerificationError:
        return False
