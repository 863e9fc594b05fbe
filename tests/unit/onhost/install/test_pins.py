"""Of a requirements.txt uv sees what pins a package, and nothing that reaches further."""

from __future__ import annotations

import pytest
from onebox_release.errors import ReleaseError
from onebox_release.install import pins

from settings import source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD = f"""
# made by uv
fastapi==0.99 \\
    --hash=sha256:ab12 \\
    --hash=sha256:cd34
    # via links
uvicorn[standard]==1.0 ; python_version < "4"
mine @ git+ssh://git@example.com/mine@{COMMIT}#egg=mine
"""


def test_pins_go_through_with_their_hashes() -> None:
    assert pins.pinned_lines(GOOD).splitlines() == [
        "fastapi==0.99 --hash=sha256:ab12 --hash=sha256:cd34",
        'uvicorn[standard]==1.0 ; python_version < "4"',
        f"mine @ git+ssh://git@example.com/mine@{COMMIT}#egg=mine",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "-e ./evil",
        "--editable=./evil",
        "-r /etc/other/secrets.env",
        "-c /etc/shadow",
        "./evil",
        "evil @ file:///srv/probe/evil",
        "--index-url https://evil.example",
        "fastapi>=1",
        "fastapi==1 --hash=sha256:ab -r /etc/shadow",
        "fastapi==1 --config-settings=x",
        "evil==1\x0b-e ./evil",
        "evil==1\x85-e ./evil",
    ],
)
def test_anything_else_is_refused_and_not_repeated(line: str) -> None:
    with pytest.raises(ReleaseError) as error:
        pins.pinned_lines(f"fastapi==1\n{line}\n")
    assert line not in str(error.value)


def test_server_and_deployer_mean_the_same() -> None:
    assert pins.PINNED.pattern == source.PINNED.pattern
