"""A lab's folders and one host's entry."""

from pathlib import Path

import pytest

from lab.layout import Lab
from lab.registry import HostEntry


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab with no host."""
    made = Lab(root=tmp_path / "root", cache=tmp_path / "cache")
    made.hosts.mkdir(parents=True)
    return made


@pytest.fixture
def web() -> HostEntry:
    """An entry that is not saved."""
    return HostEntry(
        name="web",
        number=11,
        debian=12,
        address="10.213.0.11",
        address6="fd6f::b",
        domains=("web.onebox.test", "www.test"),
    )
