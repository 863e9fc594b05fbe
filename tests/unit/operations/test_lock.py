"""How long a deploy waits for another one, and how that is ended."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from operations import lock


def a_host(**data: object) -> Any:
    return SimpleNamespace(data=data)


def test_a_deploy_waits_ten_minutes_or_as_long_as_requested() -> None:
    assert lock.wait_seconds(a_host()) == 600
    assert lock.wait_seconds(a_host(wait="0")) == 0
    assert lock.wait_seconds(a_host(wait=1800)) == 1800


@pytest.mark.parametrize("wait", ["-1", "5m", "", "1.5", "86401", "True", "\u0663"])
def test_another_time_is_refused_with_an_example(wait: str) -> None:
    with pytest.raises(PyinfraError, match=r"as in --data wait=600\. 0 does not wait"):
        lock.wait_seconds(a_host(wait=wait))


def test_ctrl_c_ends_only_the_wait_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    before = signal.getsignal(signal.SIGINT)
    with lock._interruptible():
        os.kill(os.getpid(), signal.SIGINT)
    assert codes == [1]
    assert signal.getsignal(signal.SIGINT) is before
