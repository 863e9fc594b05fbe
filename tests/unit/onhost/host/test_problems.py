"""The problems that the checks found."""

from __future__ import annotations

import json
from pathlib import Path

from onebox_release.host import problems


def test_what_the_checks_found_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert problems.read(path) is None
    problem = {"key": "disk:/", "what": "full", "do": "x", "since": 1.0, "told": True}
    path.write_text(json.dumps({"schema": 1, "data": {"at": 2.0, "open": {"disk:/": problem}}}))
    del problem["told"]
    assert problems.read(path) == {"at": 2.0, "open": [problem]}
