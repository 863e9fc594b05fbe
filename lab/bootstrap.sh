#!/bin/sh
# Makes this machine ready for `make`: Debian's packages for the lab and the tests, uv, and the
# project's virtual environment. Prints what it installs; a second run changes nothing.
set -eu
cd "$(dirname "$0")/.."

uv_version=$(sed -n 's/^ *"uv==\(.*\)",$/\1/p' pyproject.toml | head -n 1)
as_root=$([ "$(id -u)" = 0 ] || echo sudo)

need() { # a command, and the package that contains it
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

missing=""
python3 -c 'import ensurepip, venv' 2>/dev/null || missing=" python3-venv"
if [ "${1-}" = lab ]; then
    need mmdebstrap mmdebstrap
    need systemd-nspawn systemd-container
    need nft nftables
    need ip iproute2
    need ssh openssh-client
    need xfs_io xfsprogs
    need mkfs.ext4 e2fsprogs
    need curl curl
    [ -d /usr/share/keyrings ] && ls /usr/share/keyrings/debian-archive-*.gpg >/dev/null 2>&1 ||
        missing="$missing debian-archive-keyring"
    need chromium chromium
    need chromedriver chromium-driver
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
fi
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "Setup needs Debian's packages$missing, but this machine has no apt-get." >&2
        exit 1
    fi
    echo "Installing Debian's packages:$missing"
    $as_root apt-get -qq update
    # PostgreSQL is for the app's tests, which start their own cluster: start none here.
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends $missing >/dev/null
fi
if [ "$(.tools/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$uv_version" ]; then
    echo "Installing uv $uv_version into .tools/"
    python3 -m venv --clear .tools
    .tools/bin/python -m pip --quiet --disable-pip-version-check install "uv==$uv_version"
fi
if ! .tools/bin/uv sync --frozen --check --quiet 2>/dev/null; then
    echo "Installing the packages of uv.lock into .venv/"
    .tools/bin/uv sync --frozen --quiet --compile-bytecode
fi
