"""An archive's packages, and the files that uv gets to install them.

uv obeys the files beside a lock file: `[tool.uv]` and uv.toml could make it write anywhere, run
code or read any file. So uv sees none of the archive's files but a generated project: the lock file
unchanged, and the settings that are listed below, each checked by type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from onebox_release.errors import ReleaseError
from onebox_release.host.bounded import bounded
from onebox_release.install import pins, toml

LOCK, REQUIREMENTS, PROJECT, SETTINGS = "uv.lock", "requirements.txt", "pyproject.toml", "uv.toml"
PACKAGE_FILES = (LOCK, REQUIREMENTS, SETTINGS, PROJECT)
MOST_MEMBERS, LARGEST_MEMBER = 200, 256 * 1024  # of a workspace; bytes of each pyproject.toml
PYPI = "https://pypi.org/simple"
# Hosts of an index's files, if not the index's own.
FILE_HOSTS = {
    "pypi.org": {"files.pythonhosted.org"},
    "test.pypi.org": {"test-files.pythonhosted.org"},
    "download.pytorch.org": {"download-r2.pytorch.org"},
}
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?", re.ASCII)
HASH = re.compile(r"sha(256|384|512):[0-9a-f]{64,128}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
# Variables of `install_secrets` that name an index.
INDEX_VARIABLES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _one_of(*values: str) -> Check:
    return lambda value: value in values


def _list(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _table(**checks: Check) -> Check:
    return lambda value: (
        isinstance(value, dict)
        and all(key in checks and checks[key](of) for key, of in value.items())
    )


def _map(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _below(value: Any) -> bool:
    return _text(value) and ".." not in value.split("/") and not value.startswith(("/", "~"))


_texts = _list(_text)
_index = _table(
    name=_text, url=_text, default=_flag, explicit=_flag, format=_one_of("simple", "flat"),
    authenticate=_one_of("auto", "always", "never"),
)  # fmt: skip
_source = _table(
    index=_text, workspace=_flag, git=_text, rev=_text, tag=_text, branch=_text,
    subdirectory=_below, marker=_text, extra=_text, group=_text,
)  # fmt: skip
# Settings of where packages come from, and which of them: the lock was made with these.
INDEXES: Mapping[str, Check] = {
    "index": _list(_index),
    "index-url": _text,
    "extra-index-url": _texts,
    "index-strategy": _one_of("first-index", "unsafe-first-match", "unsafe-best-match"),
    "resolution": _text,
    "prerelease": _text,
    "fork-strategy": _text,
    "exclude-newer": _either(_text, _flag),
    "exclude-newer-package": _map(_either(_text, _flag)),
    "no-build-package": _texts,
    "no-binary-package": _texts,
}
UV_SETTINGS: Mapping[str, Check] = {
    **INDEXES,
    "package": _flag,
    "default-groups": _either(_texts, _one_of("all")),
    "dependency-groups": _map(_map(_text)),
    "dev-dependencies": _texts,
    "constraint-dependencies": _texts,
    "override-dependencies": _texts,
    "exclude-dependencies": _texts,
    "build-constraint-dependencies": _texts,
    "environments": _either(_text, _texts),
    "required-environments": _either(_text, _texts),
    "conflicts": _list(_list(_map(_text))),
    "dependency-metadata": _list(_map(_either(_text, _texts))),
    "sources": _map(_either(_source, _list(_source))),
    "workspace": _table(members=_list(_below), exclude=_list(_below)),
}
PROJECT_KEYS: Mapping[str, Check] = {
    "name": _text,
    "version": _text,
    "requires-python": _text,
    "dependencies": _texts,
    "optional-dependencies": _map(_texts),
    "dynamic": _texts,
}
GROUPS = _map(_list(_either(_text, _map(_text))))


@dataclass(frozen=True)
class Project:
    """The files and facts of a project for uv."""

    files: dict[str, bytes]
    """The files, by path in the project's folder."""
    locked: bool
    """True for uv.lock, False for requirements.txt."""
    names: frozenset[str]
    """The names of the packages."""
    builds: bool
    """Whether source distributions and git dependencies are built."""
    wheels: dict[str, int]
    """Download bytes of each package whose size the lock has."""
    ignored: list[str]
    """Settings of the archive that uv does not get."""

    @property
    def key(self) -> bytes:
        """Return the bytes that identify the environment."""
        parts = [str(self.builds).encode()]
        for name in sorted(self.files):
            parts += [name.encode(), self.files[name]]
        return b"\0".join(parts)


@dataclass(frozen=True)
class Rules:
    """The rules for an archive's packages."""

    build: bool
    """Whether code may be built; git dependencies need that."""
    by_key: bool
    """Whether a deploy key submitted it: then all packages need hashes and HTTPS."""
    indexes: frozenset[str] = frozenset()
    """Indexes besides PyPI that the server's uv.toml and the inventory name."""
    machine: str = "x86_64"


def collect(files: Iterable[tuple[str, int, Callable[[], bytes]]]) -> dict[str, bytes]:
    """Return the files of an archive that define its packages, out of all files by name, size and
    content. Raises ReleaseError if one is too large."""
    found: dict[str, bytes] = {}
    for name, size, content in files:
        if name in PACKAGE_FILES:
            if size > toml.MOST:
                raise ReleaseError(f"{name} is larger than {toml.MOST >> 20} MiB.")
            found[name] = content()
        # Deeper ones may be unrelated, such as test data; uv reports a member that is missing.
        elif name.endswith(f"/{PROJECT}") and size <= LARGEST_MEMBER and len(found) < MOST_MEMBERS:
            found[name] = content()
    return found


def read(files: Mapping[str, bytes], rules: Rules) -> Project:
    """Return the project for uv. Raises ReleaseError if the archive's files break the rules."""
    return bounded("A package file of the archive", lambda: _read(files, rules))


def _read(files: Mapping[str, bytes], rules: Rules) -> Project:
    if LOCK not in files and REQUIREMENTS not in files:
        raise ReleaseError(f"The archive has no {LOCK} and no {REQUIREMENTS}.")
    ignored: list[str] = []
    generated: dict[str, bytes] = {}
    indexes = {_normalised(PYPI), *map(_normalised, rules.indexes)}
    if SETTINGS in files:
        settings = _allowed(toml.read(SETTINGS, files[SETTINGS]), INDEXES, SETTINGS, ignored)
        indexes |= _indexes(settings, rules)
        generated[SETTINGS] = toml.dumps(settings)
    if LOCK in files:
        if PROJECT not in files:
            raise ReleaseError(f"The archive has {LOCK} and no {PROJECT}.")
        project = _project(toml.read(PROJECT, files[PROJECT]), PROJECT, ignored)
        indexes |= _indexes(project["tool"]["uv"], rules)
        generated[PROJECT] = toml.dumps(project)
        generated.update(_of_members(files, project["tool"]["uv"].get("workspace", {}), ignored))
        generated[LOCK] = files[LOCK]
        names, wheels = _locked(toml.read(LOCK, files[LOCK]), rules, indexes)
    else:
        text = pins.pinned_lines(
            _decoded(files[REQUIREMENTS]), build=rules.build, hashed=rules.by_key
        )
        generated[REQUIREMENTS] = text.encode()
        words = (re.match(pins.PACKAGE, line) for line in text.splitlines())
        names, wheels = {word["name"] for word in words if word}, {}
    return Project(generated, LOCK in files, frozenset(names), rules.build, wheels, ignored)


def _of_members(
    files: Mapping[str, bytes], workspace: Mapping[str, list[str]], ignored: list[str]
) -> Iterator[tuple[str, bytes]]:
    for name, content in files.items():
        folder = name.removesuffix(f"/{PROJECT}")
        globs = workspace.get("members", [])
        if folder != name and any(fnmatchcase(folder, glob.rstrip("/")) for glob in globs):
            with suppress(ReleaseError):  # not a member, or uv reports it
                yield name, toml.dumps(_project(toml.read(name, content), name, ignored))


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ReleaseError(f"{REQUIREMENTS} is not UTF-8 text.") from None


def _allowed(
    table: Mapping[str, Any], checks: Mapping[str, Check], where: str, ignored: list[str]
) -> dict[str, Any]:
    allowed = {}
    for key, value in table.items():
        if key in checks and checks[key](value):
            allowed[key] = value
        else:
            ignored.append(f"{where}: {key}")
    return allowed


def _project(document: dict[str, Any], where: str, ignored: list[str]) -> dict[str, Any]:
    tool = document.get("tool")
    own = tool.get("uv", {}) if isinstance(tool, dict) else {}
    if not isinstance(own, dict):
        raise ReleaseError(f"{where}: [tool.uv] is not a table.")
    settings = _allowed(own, UV_SETTINGS, f"{where}, [tool.uv]", ignored)
    # This decides how the lock names the project; nothing is built from it.
    settings.setdefault("package", "build-system" in document)
    found: dict[str, Any] = {}
    if isinstance(project := document.get("project"), dict):
        found["project"] = _allowed(project, PROJECT_KEYS, where, [])
    if GROUPS(groups := document.get("dependency-groups", {})):
        found["dependency-groups"] = groups
    return {**found, "tool": {"uv": settings}}


def _indexes(settings: Mapping[str, Any], rules: Rules) -> set[str]:
    """Return the URLs of a file's indexes. Raises ReleaseError if one is invalid."""
    found = [index.get("url", "") for index in settings.get("index", [])]
    found += [settings.get("index-url", PYPI), *settings.get("extra-index-url", [])]
    for url in found:
        _check_https(url, "an index", rules)
    return set(map(_normalised, found))


def _locked(
    lock: dict[str, Any], rules: Rules, indexes: set[str]
) -> tuple[set[str], dict[str, int]]:
    """Return the packages of a lock file, and their download bytes."""
    names: set[str] = set()
    sizes: dict[str, int] = {}
    members = _members(lock)
    packages = lock.get("package", [])
    if not _list(lambda package: isinstance(package, dict))(packages):
        raise ReleaseError(f"{LOCK} has no list of packages.")
    for package in packages:
        name = package.get("name")
        if not _text(name) or not NAME.fullmatch(name):
            raise ReleaseError(f"{LOCK} has a package without a name.")
        names.add(name)
        source = package.get("source")
        if not _map(_text)(source) or not source:
            raise ReleaseError(f"{LOCK}: {name} has no source.")
        if "registry" in source:
            registry = source["registry"]
            _check_https(registry, name, rules)
            if _normalised(registry) not in indexes:
                raise _rejected(name, "comes from an index that the project does not name")
            if size := _files(package, name, registry, rules):
                sizes[name] = sizes.get(name, 0) + size
        elif "git" in source:
            _check_git(source["git"], name, rules)
        elif not _is_own(source, name, members):
            raise _rejected(
                name, "comes from a folder, a file or a URL, not from an index. Publish it, or move"
                " its code into the app"
            )  # fmt: skip
    return names, sizes


def _members(lock: dict[str, Any]) -> set[str]:
    manifest = lock.get("manifest")
    found = manifest.get("members") if isinstance(manifest, dict) else None
    return set(found) if found and _texts(found) else set()


def _is_own(source: Mapping[str, str], name: str, members: set[str]) -> bool:
    """Check whether a package is the project or a workspace member, which are not installed."""
    [(kind, path), *more] = source.items()
    if more or kind not in {"virtual", "editable", "directory"}:
        return False
    return path == "." or (name in members and _below(path))


def _check_git(url: str, name: str, rules: Rules) -> None:
    if not rules.build:
        raise _rejected(name, "comes from git, which needs the app's setting `build`")
    address, _, commit = url.partition("#")
    if urlsplit(address).scheme not in {"https", "ssh"} or not COMMIT.fullmatch(commit):
        raise _rejected(name, "comes from git; it must be pinned to a commit over HTTPS or SSH")


def _files(package: dict[str, Any], name: str, registry: str, rules: Rules) -> int:
    """Check a package's files; return the bytes to download, 0 if unknown."""
    wheels, sdist = package.get("wheels", []), package.get("sdist")
    if not _list(lambda wheel: isinstance(wheel, dict))(wheels):
        raise _rejected(name, "has a `wheels` that is not a list")
    for file in [*wheels, *([sdist] if sdist is not None else [])]:
        if not isinstance(file, dict) or not _text(file.get("url")) or "path" in file:
            raise _rejected(name, "has a file without a URL")
        _check_https(file["url"], name, rules)
        _check_host(file["url"], name, registry, rules)
        if rules.by_key and not (_text(file.get("hash")) and HASH.fullmatch(file["hash"])):
            raise _rejected(name, "has a file without a hash, which deploy keys require")
    fitting = [wheel for wheel in wheels if _fits(wheel["url"], rules.machine)]
    sizes = [file.get("size", 0) for file in fitting or ([sdist] if sdist else [])]
    return max((size for size in sizes if isinstance(size, int) and size > 0), default=0)


def _fits(url: str, machine: str) -> bool:
    """Check by its name whether a wheel can run on this machine."""
    tag = urlsplit(url).path.removesuffix(".whl").rpartition("-")[2]
    return tag == "any" or ("linux" in tag and machine in tag and "musl" not in tag)


def _check_host(url: str, name: str, registry: str, rules: Rules) -> None:
    """Raise ReleaseError if a file is not on its index's host: it could be another's."""
    home, host = urlsplit(registry).hostname or "", urlsplit(url).hostname
    if host == home or host in FILE_HOSTS.get(home, ()):
        return
    if home in FILE_HOSTS or rules.by_key:
        raise _rejected(name, f"comes from the index {home}, but has a file on another host")


def _check_https(url: str, what: str, rules: Rules) -> None:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    # An administrator may use an index without TLS; deploy keys may not.
    if not good or parts.scheme not in {"https", *(() if rules.by_key else ("http",))}:
        raise _rejected(what, "has a URL that is not HTTPS")


def _normalised(url: str) -> str:
    """Return an index's URL without user, password and trailing slash, for comparison."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _rejected(name: str, what: str) -> ReleaseError:
    return ReleaseError(f"The archive's {LOCK} or {PROJECT}: {name} {what}.")


def indexes_of(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield the URLs of indexes in uv's environment variables."""
    for variable in INDEX_VARIABLES:
        for word in variables.get(variable, "").split():
            name, separator, url = word.partition("=")
            yield url if separator and NAME.fullmatch(name) else word


def indexes_in(document: Mapping[str, Any]) -> Iterable[str]:
    """Yield the URLs of indexes in the server's uv.toml."""
    for index in document.get("index", []):
        yield str(index.get("url", ""))
    yield from filter(None, [document.get("index-url"), *document.get("extra-index-url", [])])
