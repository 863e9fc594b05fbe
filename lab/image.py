"""Base images, as bare as a fresh cloud VM: built once and cached."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import machine
from lab.command import DIES_WITH_US, run
from lab.layout import Lab, locked

# A subset of Debian's own cloud images: without what a container can't use (kernel, boot
# loader, cloud-init, clock), and without everything that a deploy installs.
PACKAGES = (
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus", "openssh-server", "sudo", "python3"),
    *("ca-certificates", "curl", "iproute2", "iputils-ping", "less", "netbase", "procps"),
    *("tzdata", "vim-tiny"),
)
USER = "debian"
# Each host gets its own: they identify a machine.
IDENTITY = ("etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname", "etc/resolv.conf")
COMMANDS = (
    ("useradd", "--create-home", "--shell", "/bin/bash", "--groups", "sudo", USER),
    ("update-ca-certificates",),
    ("ln", "-sf", "/usr/share/zoneinfo/Etc/UTC", "/etc/localtime"),
)


@dataclass(frozen=True)
class Recipe:
    """Everything that an image depends on; any change changes its key."""

    kind: str
    suite: str
    variant: str
    packages: tuple[str, ...]
    sources: str
    options: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()

    @property
    def key(self) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        return f"{self.kind}-{digest.hexdigest()[:12]}"


def debian_recipe(debian: int) -> Recipe:
    """The base image of a Debian version, with this machine's network settings for apt and PyPI."""
    options = tuple(machine.apt_options())
    authorities = machine.authorities().items()
    files = {
        f"etc/sudoers.d/90-{USER}": f"{USER} ALL=(ALL) NOPASSWD:ALL\n",
        "etc/apt/sources.list.d/debian.sources": machine.apt_sources(debian),
        "etc/apt/apt.conf.d/99network": "".join(f"{option}\n" for option in options),
        "etc/pip.conf": machine.pip_conf(),
        "etc/uv/uv.toml": machine.uv_toml(),
        **{f"usr/local/share/ca-certificates/{name}": text for name, text in authorities},
    }
    return Recipe(
        kind=f"debian{debian}",
        suite=machine.SUITES[debian],
        variant="minbase",
        packages=PACKAGES,
        sources=machine.apt_sources(debian),
        options=options,
        files=tuple((path, text) for path, text in files.items() if text),
        commands=COMMANDS,
    )


def ensure(
    lab: Lab, recipe: Recipe, title: str, about: int, in_use: Callable[[], set[str]] = set
) -> Path:
    """The built tree, cached or built now in `about` seconds, by one process at a time.

    A build removes the images of older recipes, except the layers that `in_use` returns.
    """
    tree = lab.images / recipe.key
    if tree.is_dir():
        return tree
    with locked(lab.images):
        if not tree.is_dir():
            print(f"Building {title} (once; about {about} s) ...", file=sys.stderr)
            _build(recipe, lab.images / f".building-{recipe.key}", tree)
            _prune(lab, recipe, in_use())
    return tree


def _prune(lab: Lab, recipe: Recipe, in_use: set[str]) -> None:
    for path in lab.images.iterdir():
        same_kind = path.name.removeprefix(".building-").startswith(f"{recipe.kind}-")
        if same_kind and path.name != recipe.key and f"images/{path.name}" not in in_use:
            shutil.rmtree(path)


def _build(recipe: Recipe, draft: Path, tree: Path) -> None:
    # The draft of a killed build.
    if draft.exists():
        shutil.rmtree(draft)
    _bootstrap(recipe, draft)
    _add_files(recipe, draft)
    for command in recipe.commands:
        run(*DIES_WITH_US, "chroot", draft, *command)
    if recipe.variant != "extract":
        _remove_identity(draft)
    os.sync()
    draft.rename(tree)


def _bootstrap(recipe: Recipe, draft: Path) -> None:
    # In its own PID and mount namespaces: killing it ends apt, dpkg and its mounts, too.
    run(
        *DIES_WITH_US,
        *("unshare", "--mount", "--propagation=slave", "--pid", "--mount-proc"),
        *("--fork", "--kill-child"),
        *("mmdebstrap", "--quiet", f"--variant={recipe.variant}"),
        *("--include=" + ",".join(recipe.packages), "--format=directory"),
        *(f"--aptopt={option.removesuffix(';')}" for option in recipe.options),
        *(recipe.suite, draft, "-"),
        text=recipe.sources,
    )


def _add_files(recipe: Recipe, draft: Path) -> None:
    for name in ("sources.list", "sources.list.d/0000sources.sources", "apt.conf.d/99mmdebstrap"):
        (draft / "etc/apt" / name).unlink(missing_ok=True)
    for name, text in recipe.files:
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o440 if "sudoers.d" in name else 0o644)


def _remove_identity(draft: Path) -> None:
    for name in IDENTITY:
        (draft / name).unlink(missing_ok=True)
    for key in (draft / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
