"""Half an hour under load, with a worker killed each minute."""

import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from links.clicks import INTERVAL
from tests.cluster import APP, Cluster
from tests.conftest import SECRET_KEY, register, shorten
from tests.test_clicks import children, total
from tests.test_server import gunicorn

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
KILL_EVERY = 60 * MINUTES / 30  # seconds
CLICKS = 5  # for each link made
FLUSH = 0.2  # seconds that a batch under way may take


def memory(process: int) -> int:
    """KiB of the oldest worker and the master."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (process, *children(process))]
    return sum(int(re.findall(r"Pss:\s+(\d+)", text)[0]) for text in texts)


class Load:
    """What was acknowledged, and when."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.codes: list[str] = []
        self.clicked: list[float] = []
        self.cut = 0

    def step(self) -> None:
        """Make a link and follow it; the kill of a worker may cut a request off."""
        try:
            code = shorten(self.client)["code"]
            self.codes.append(code)
            for _ in range(CLICKS):
                moment = time.monotonic()
                assert self.client.get("/" + code).status_code == 307
                self.clicked.append(moment)
        except httpx.TransportError:
            self.cut += 1


@pytest.mark.soak
def test_no_link_is_lost_and_few_clicks(cluster: Cluster, database: str) -> None:
    environment = {
        "DATABASE_URL": cluster.url(APP, database),
        "SECRET_KEY": SECRET_KEY,
        "ACCESS_TOKEN_SECONDS": "86400",
    }
    kills: list[float] = []
    sizes: list[int] = []
    with gunicorn(2, **environment) as (process, client):
        register(client)
        load = Load(client)
        end = time.monotonic() + 60 * MINUTES
        due = time.monotonic() + KILL_EVERY
        while time.monotonic() < end:
            load.step()
            if time.monotonic() > due:
                sizes.append(memory(process.pid))
                kills.append(time.monotonic())
                os.kill(children(process.pid)[len(kills) % 2], signal.SIGKILL)
                due += KILL_EVERY
        process.terminate()
        process.communicate(timeout=30)
    kept = set(cluster.ask("SELECT code FROM links", database).split())
    assert not set(load.codes) - kept
    lost = len(load.clicked) - total(cluster, database)
    at_risk = sum(
        any(kill - INTERVAL - FLUSH < moment <= kill for kill in kills) for moment in load.clicked
    )
    print(f"{len(load.codes)} links, {len(load.clicked)} clicks, {lost} lost of {at_risk} at risk,")
    print(f"{load.cut} requests cut by {len(kills)} kills, {sizes} KiB")
    # A request that was cut off may have been counted.
    assert -load.cut <= lost <= at_risk
    assert sizes[-1] < 1.2 * sizes[len(sizes) // 3]
