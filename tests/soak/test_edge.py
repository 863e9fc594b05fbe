"""`make soak-edge`: what clients that nobody trusts can do to nginx and the app behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import smuggling
from tests.e2e.test_7_apps import described
from tests.server import Server

DEBIANS = ("12", "13")


@pytest.fixture(scope="module")
def servers(
    copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Server]:
    """Makes a host of a Debian that serves the app which tells what reaches it; once each."""
    made: dict[str, Server] = {}

    def server(debian: str) -> Server:
        if debian not in made:
            made[debian] = server = copy(debian)
            folder: Path = tmp_path_factory.mktemp("apps") / "one"
            server.entry["apps"] = [described("one", folder, server, database="none", secrets=[])]
            server.deploy()
        return made[debian]

    return server


def domain(server: Server) -> str:
    """Return where the app is."""
    return str(server.app["domains"][0])


@pytest.mark.parametrize("debian", DEBIANS)
def test_no_request_is_hidden_in_another(
    servers: Callable[[str], Server], figures: dict[str, Any], debian: str
) -> None:
    server = servers(debian)
    cases = [*smuggling.http1(), *smuggling.http2()]
    names = Counter((case.version, case.name) for case in cases)
    assert max(names.values()) == 1
    outcomes = smuggling.attack(server, domain(server), cases, times=3)
    wrong = [(o.case.version, o.case.name, o.wrong) for o in outcomes if o.wrong]
    figures["nginx"] = server.run("/usr/sbin/nginx -v 2>&1")
    figures["cases"] = {f"HTTP/{v}": sum(c.version == v for c in cases) for v in (1, 2)}
    figures["sent"] = len(outcomes)
    figures["reached"] = sum(len(o.reached) for o in outcomes)
    assert wrong == []
