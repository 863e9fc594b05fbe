"""What can be said of the CI workflow without running it; tests/e2e/test_9_gates.py runs it."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.lab_server import PROJECT
from tests.workflow import workflow

JOBS: dict[str, Any] = workflow()["jobs"]
ORDER = ["check", "app", "host", "staging", "production"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]


def test_each_gate_opens_the_next() -> None:
    assert [JOBS[after]["needs"] for _, after in pairwise(ORDER)] == ORDER[:-1]


def test_every_action_is_pinned_by_its_commit() -> None:
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"actions/checkout@[0-9a-f]{40}", action)


def test_jobs_may_read_the_repository_and_nothing_else() -> None:
    assert workflow()["permissions"] == {}
    for job in JOBS.values():
        assert job["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("name", ["staging", "production"])
def test_deploys_go_one_by_one_and_are_never_cancelled_by_the_next(name: str) -> None:
    concurrency = {"group": f"deploy-{name}", "cancel-in-progress": False}
    assert JOBS[name]["concurrency"] == concurrency
    assert JOBS[name]["environment"] == name


def test_every_job_ends_at_last() -> None:
    assert all(job["timeout-minutes"] <= 60 for job in JOBS.values())


def test_steps_are_one_line_and_take_values_from_the_environment_alone() -> None:
    for step in STEPS:
        assert "\n" not in step.get("run", "")
        assert "${{" not in step.get("run", "")


def test_steps_call_what_is_in_the_repository() -> None:
    rules = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for step in (step["run"] for step in STEPS if "run" in step):
        program, *arguments = step.split()
        if program == "make":
            assert set(arguments) <= rules
        else:
            assert (
                re.search(r"\.venv/bin/fab (digest|deploy)", step) or (PROJECT / program).is_file()
            )


def test_make_test_has_the_same_gates() -> None:
    text = (PROJECT / "Makefile").read_text()
    assert re.search(r"^check: lint unit ", text, re.MULTILINE)
    assert re.search(r"^test: setup-lab check test-app test-host ", text, re.MULTILINE)
    gates = [step["run"] for name in ORDER[:3] for step in JOBS[name]["steps"] if "run" in step]
    assert gates == ["make lint", "make unit", "make test-app", "make test-host"]
