"""Run the shell steps of a job of .github/workflows/gates.yml like GitHub's runner."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.lab_server import LONG, PROJECT

EXPRESSION = re.compile(r"\$\{\{ ([\w.-]+) \}\}")


def workflow() -> dict[str, Any]:
    """Return the parsed workflow file."""
    text = (PROJECT / ".github/workflows/gates.yml").read_text()
    parsed: dict[str, Any] = YAML(typ="safe").load(text)
    return parsed


def checkout(folder: Path) -> Path:
    """Return a copy of the project like actions/checkout's: nothing is installed."""
    command = ["git", "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        source = PROJECT / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return folder


@dataclass
class Runner:
    """A machine that runs jobs in a checkout; `given` has the values of expressions."""

    folder: Path
    temporary: Path
    given: dict[str, str]
    environment: dict[str, str]
    """Variables that a hosted runner sets."""
    output: str = field(default="", init=False)
    """The output of the last job."""

    @property
    def page(self) -> Path:
        """Return the job's summary page."""
        return self.temporary / "summary.md"

    def job(self, name: str) -> int:
        """Run a job's steps; return the exit code of the first that fails, or 0."""
        self.output = ""
        self.page.write_text("")
        job = workflow()["jobs"][name]
        found: dict[str, str] = {}
        for number, step in enumerate(step for step in job["steps"] if "run" in step):
            declared = {**job.get("env", {}), **step.get("env", {})}
            outputs, variables = self.temporary / f"output-{number}", self.temporary / "env"
            for file in (outputs, variables):
                file.touch()
            own = {
                "GITHUB_ENV": str(variables),
                "GITHUB_OUTPUT": str(outputs),
                "GITHUB_STEP_SUMMARY": str(self.page),
                "RUNNER_TEMP": str(self.temporary),
            }
            values = {key: self._value(text) for key, text in declared.items()}
            result = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.folder,
                env={**os.environ, **self.environment, **own, **_pairs(variables), **values},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=LONG,
            )
            self.output += f"$ {step['run']}\n{result.stdout}"
            if result.returncode:
                return result.returncode
            if "id" in step:
                found |= {f"steps.{step['id']}.outputs.{k}": v for k, v in _pairs(outputs).items()}
        for key, text in job.get("outputs", {}).items():
            self.given[f"needs.{name}.outputs.{key}"] = found[EXPRESSION.sub(r"\1", text)]
        return 0

    def _value(self, text: str) -> str:
        return EXPRESSION.sub(lambda match: self.given.get(match[1], ""), text)


def _pairs(file: Path) -> dict[str, str]:
    """Return the NAME=VALUE lines of a file."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines())
