"""lab/domains.py: which host a domain points at."""

from dataclasses import replace

import pytest

from lab import domains
from lab.layout import Lab
from lab.registry import HostEntry


def test_a_shared_domain_points_at_the_newest_host(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, web: HostEntry
) -> None:
    pointed: list[tuple[str, str | None]] = []

    def point(_: Lab, domain: str, holder: HostEntry | None) -> None:
        pointed.append((domain, holder.name if holder else None))

    monkeypatch.setattr(domains, "point", point)
    old = replace(web, created=1.0)
    new = replace(web, name="copy", created=2.0, domains=("copy.onebox.test", "www.test"))
    domains.resolve(lab, ["www.test", "web.onebox.test", "gone.test"], [new, old])
    assert pointed == [("www.test", "copy"), ("web.onebox.test", "web"), ("gone.test", None)]
