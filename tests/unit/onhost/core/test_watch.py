"""When a release is worse than the previous one."""

from __future__ import annotations

from pathlib import Path

import pytest
from onebox_release.core.watch import BEFORE, AccessLog, Answers, count

LINE = '127.0.0.1 - - [x] "GET /{path} HTTP/1.1" {status} 12 "-" "curl"\n'


def lines(*statuses: int) -> str:
    return "".join(LINE.format(path="", status=status) for status in statuses)


@pytest.mark.parametrize(
    ("now", "before", "worse"),
    [
        (Answers(0, 0), Answers(0, 0), False),
        (Answers(4, 4), Answers(0, 0), False),
        (Answers(5, 5), Answers(0, 0), True),
        (Answers(100, 5), Answers(0, 0), False),
        (Answers(99, 5), Answers(0, 0), True),
        (Answers(100, 30), Answers(100, 10), False),
        (Answers(100, 31), Answers(100, 10), True),
        (Answers(100, 50), Answers(100, 34), False),
        (Answers(100, 51), Answers(100, 34), True),  # many failed before
    ],
)
def test_it_takes_five_errors_and_a_share_above_5_percent_and_three_times_before(
    now: Answers, before: Answers, *, worse: bool
) -> None:
    assert now.is_worse_than(before) is worse


def test_errors_are_answers_of_500_and_above() -> None:
    text = lines(200, 404, 499, 500, 502) + "torn"
    assert count(text.encode().splitlines()) == Answers(5, 2)


def test_what_nginx_answers_by_itself_says_nothing_of_a_release() -> None:
    """A client can have any number of 501, by a Transfer-Encoding that nginx does not know."""
    line = '127.0.0.1 - - [x] "GET / HTTP/1.1" {} 12 "-" "curl" "{}" 0.001 id 1.001\n'
    found = [(501, "-"), (200, "-"), (200, "200"), (500, "500"), (502, "502, 502"), (504, "504")]
    text = "".join(line.format(*each) for each in found)
    assert count(text.encode().splitlines()) == Answers(4, 3)


def test_a_path_that_looks_like_a_status_is_none() -> None:
    assert count([LINE.format(path="a 500 b", status=200).encode()]) == Answers(1, 0)


def test_the_log_is_split_at_the_moment_of_the_switch(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(lines(200, 500))
    log = AccessLog(path)
    with path.open("a") as file:
        file.write(lines(200, 200, 502))
    assert log.before() == Answers(2, 1)
    assert log.since() == Answers(3, 1)


def test_a_rotated_log_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(lines(200, 200, 200))
    log = AccessLog(path)
    path.rename(tmp_path / "log.1")
    assert log.since() == Answers(0, 0)
    path.write_text(lines(500))
    assert log.since() == Answers(1, 1)


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(lines(200))
    log = AccessLog(path)
    with path.open("a") as file:
        file.write(lines(200, 200))
    assert log.since() == Answers(2, 0)
    path.write_text(lines(500, 500, 500, 502))  # in the place of what was read
    assert log.since() == Answers(3, 1)


def test_lines_of_a_rotation_are_counted_once(tmp_path: Path) -> None:
    """nginx writes to the old file until it reopens its logs."""
    path = tmp_path / "log"
    path.write_text(lines(200))
    log = AccessLog(path)
    with path.open("a") as old:
        old.write(lines(200, 500))
        old.flush()
        path.rename(tmp_path / "log.1")
        path.write_text(lines(200))
        assert log.since() == Answers(3, 1)
        old.write(lines(500))
        old.flush()
        assert log.since() == Answers(4, 2)
    (tmp_path / "log.1").rename(tmp_path / "log.2")
    path.rename(tmp_path / "log.1")
    path.write_text(lines(502))
    assert log.since() == Answers(5, 3)
    assert log.since() == Answers(5, 3)


def test_a_log_that_is_emptied_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(lines(200, 200, 200))
    log = AccessLog(path)
    path.write_text("")
    assert log.since() == Answers(0, 0)
    path.write_text(lines(500))
    assert log.since() == Answers(1, 1)


def test_a_line_is_counted_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("")
    log = AccessLog(path)
    path.write_text(lines(500)[:-9])
    assert log.since() == Answers(0, 0)
    path.write_text(lines(500))
    assert log.since() == Answers(1, 1)


def test_what_stood_before_is_found_before_a_rotation_too(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text(lines(500, 200))
    (tmp_path / "log").write_text(lines(200))
    assert AccessLog(tmp_path / "log").before() == Answers(3, 1)


def test_no_log_yet_is_no_answers(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "log")
    assert log.before() == log.since() == Answers(0, 0)


def test_of_a_long_log_only_the_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(lines(*[500] * 10) + lines(*[200] * 10_000))
    before = AccessLog(path).before()
    assert before.errors == 0
    assert before.total <= BEFORE // len(lines(200)) + 1
