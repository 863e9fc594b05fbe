"""Parse untrusted files in a child process with bounded memory and CPU time.

Some inputs of a few kB take a parser gigabytes or hours: Python 3.11's tomllib needs 1.5 GB for one
dotted key of 20,000 parts. The kernel's OOM killer picks the child first.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from onebox_release.errors import ReleaseError

MEMORY = 1 << 30  # bytes of address space; a lock file of 8 MiB takes 700 MB
SECONDS = 120  # of CPU; that lock file takes 10, and more on a slow server
OOM_SCORE = "900"  # oom_score_adj (man 5 proc), at most 1000
OUT_OF_MEMORY, FAILED = 3, 4

T = TypeVar("T")


def bounded(what: str, parse: Callable[[], T]) -> T:
    """Return what `parse` returns. Raises what it raises, and ReleaseError beyond the bounds."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        _child(parse, writing)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        # Safe: our own code in a child process pickled it; parsed input is only data in it.
        result, error = pickle.loads(answer)  # noqa: S301
        if error is not None:
            raise error
        found: T = result
        return found
    reasons = {-signal.SIGXCPU: f"takes more than {SECONDS} s to read"}
    reasons |= dict.fromkeys((OUT_OF_MEMORY, -signal.SIGKILL), "takes too much memory to read")
    raise ReleaseError(f"{what} {reasons.get(code, f'cannot be read (exit code {code})')}.")


def _child(parse: Callable[[], Any], writing: int) -> NoReturn:
    """Parse and exit at once: the parent's exit handlers must not run here."""
    code = FAILED
    with suppress(BaseException):
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        try:
            answer = pickle.dumps(_outcome(parse))
        except MemoryError:
            code = OUT_OF_MEMORY
        else:
            with open(writing, "wb") as pipe:
                pipe.write(answer)
            code = 0
    os._exit(code)


def _outcome(parse: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return parse(), None
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return None, error.with_traceback(None)
