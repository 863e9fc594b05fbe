"""lab/process.py: processes by PID and start time."""

import os

from lab import process
from lab.process import Process


def test_a_reused_pid_is_another_process() -> None:
    assert process.myself().alive
    assert not Process(pid=os.getpid(), started=1).alive
    assert process.find(2**22 + 1) is None
