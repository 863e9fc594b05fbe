"""bench/wrk.py: the figures in wrk's report."""

from __future__ import annotations

from bench import wrk

REPORT = """
Running 8s test @ https://links.example.com/measured
  Latency Distribution
     50%  860.00us
     75%   12.67ms
     90%   19.84ms
     99%    1.59s
  12137 requests in 8.01s, 3.35MB read
"""


def test_a_load_without_a_failure() -> None:
    assert wrk.parsed(REPORT) == wrk.Answers(
        requests=12137, failed=0, p50=0.86, p99=1590.0, printed=REPORT
    )


def test_failures_are_seen() -> None:
    sockets = "  Socket errors: connect 1, read 2, write 3, timeout 16\n"
    lines = sockets + "  Non-2xx or 3xx responses: 100\n"
    assert wrk.parsed(REPORT + lines).failed == 122


def test_a_load_without_an_answer() -> None:
    assert wrk.parsed("  0 requests in 5.02s, 0.00B read").requests == 0
