"""A certificate: one rule says whether it was not renewed in time."""

from __future__ import annotations

import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from onebox_release.host.certificates import DAY, Certificate, of_connection, of_file

NOW = 1_800_000_000.0


@pytest.mark.parametrize("life", [90, 45, 6])
@pytest.mark.parametrize(("left", "late"), [(0.32, False), (0.28, True), (-0.1, True)])
def test_a_certificate_is_late_by_the_fraction_of_its_life(
    life: int,
    left: float,
    late: bool,  # noqa: FBT001
) -> None:
    end = NOW + left * life * DAY
    certificate = Certificate(end - life * DAY, end)
    assert certificate.is_late(NOW) is late
    assert certificate.left(NOW) == pytest.approx(left * life)


def test_a_certificate_is_read_from_a_file_and_from_a_connection(tmp_path: Path) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    leaf = trustme.CA().issue_cert("links.test", "www.links.test", not_after=ends)
    file = tmp_path / "fullchain.pem"
    leaf.cert_chain_pems[0].write_to_path(file)
    found = of_file(file)
    assert found is not None
    assert found.end == ends.timestamp()
    assert found.begin < time.time()
    assert found.domains == ("links.test", "www.links.test")
    assert of_connection(ssl.PEM_cert_to_DER_cert(file.read_text())) == found


def test_where_there_is_no_certificate_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("x")
    assert of_file(tmp_path / "x.pem") is None
    assert of_file(tmp_path / "absent.pem") is None
    assert of_connection(None) is None
