"""What an archive says about the packages that it needs, and what of it uv is given.

uv obeys what lies beside a lock file: `[tool.uv]` and uv.toml could have it write anywhere, run
code, or read any file. So uv sees none of the archive's files, but a project of our own making: the
lock as it is, and of the rest what is on the lists below, each value of its kind.
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
OURS = (LOCK, REQUIREMENTS, SETTINGS, PROJECT)
MOST_MEMBERS, LARGEST_MEMBER = 200, 256 * 1024  # of a workspace; bytes of its pyproject.toml
PYPI = "https://pypi.org/simple"
# Where an index keeps its files, if not beside its pages.
FILES_OF = {
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
# What says where packages come from, or which of them: the lock was made under it.
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
WANTED: Mapping[str, Check] = {
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
OF_PROJECT: Mapping[str, Check] = {
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
    """What uv is given."""

    files: dict[str, bytes]
    """By their paths in the project's folder."""
    locked: bool
    """By uv.lock; else by requirements.txt."""
    names: frozenset[str]
    """The packages."""
    builds: bool
    """Whether source distributions and git dependencies are built."""
    wheels: dict[str, int]
    """Bytes of what is fetched for each package that the lock gives a size of."""
    passed_over: list[str]
    """What of the archive's settings uv is not given."""

    @property
    def key(self) -> bytes:
        """Return what makes an environment the same."""
        parts = [str(self.builds).encode()]
        for name in sorted(self.files):
            parts += [name.encode(), self.files[name]]
        return b"\0".join(parts)


@dataclass(frozen=True)
class Rules:
    """What an archive's packages may be."""

    build: bool
    """Whether code may be built: else a git dependency is none that can be installed."""
    by_key: bool
    """Whether a deploy key brought it: all is pinned by a hash then, and comes over HTTPS."""
    indexes: frozenset[str] = frozenset()
    """What the server's own settings and the inventory name, beside PyPI."""
    machine: str = "x86_64"


def collect(files: Iterable[tuple[str, int, Callable[[], bytes]]]) -> dict[str, bytes]:
    """Return those files of an archive that are about its packages, of all by name, size and
    content. Raises ReleaseError where one is too large."""
    found: dict[str, bytes] = {}
    for name, size, content in files:
        if name in OURS:
            if size > toml.MOST:
                raise ReleaseError(f"{name} has more than {toml.MOST >> 20} MiB.")
            found[name] = content()
        # Further down it may be any file, of a test say: uv asks for what it misses.
        elif name.endswith(f"/{PROJECT}") and size <= LARGEST_MEMBER and len(found) < MOST_MEMBERS:
            found[name] = content()
    return found


def read(files: Mapping[str, bytes], rules: Rules) -> Project:
    """Return what uv is given of an archive's files. Raises ReleaseError where that may not be."""
    return bounded("What the archive says about its packages", lambda: _read(files, rules))


def _read(files: Mapping[str, bytes], rules: Rules) -> Project:
    if LOCK not in files and REQUIREMENTS not in files:
        raise ReleaseError(f"The archive has no {LOCK} and no {REQUIREMENTS}.")
    passed_over: list[str] = []
    made: dict[str, bytes] = {}
    indexes = {_bare(PYPI), *map(_bare, rules.indexes)}
    if SETTINGS in files:
        settings = _allowed(toml.read(SETTINGS, files[SETTINGS]), INDEXES, SETTINGS, passed_over)
        indexes |= _indexes(settings, rules)
        made[SETTINGS] = toml.document(settings)
    if LOCK in files:
        if PROJECT not in files:
            raise ReleaseError(f"The archive has {LOCK} and no {PROJECT}.")
        project = _project(toml.read(PROJECT, files[PROJECT]), PROJECT, passed_over)
        indexes |= _indexes(project["tool"]["uv"], rules)
        made[PROJECT] = toml.document(project)
        made.update(_of_members(files, project["tool"]["uv"].get("workspace", {}), passed_over))
        made[LOCK] = files[LOCK]
        names, wheels = _locked(toml.read(LOCK, files[LOCK]), rules, indexes)
    else:
        text = pins.only(_decoded(files[REQUIREMENTS]), build=rules.build, hashed=rules.by_key)
        made[REQUIREMENTS] = text.encode()
        words = (re.match(pins.PACKAGE, line) for line in text.splitlines())
        names, wheels = {word["name"] for word in words if word}, {}
    return Project(made, LOCK in files, frozenset(names), rules.build, wheels, passed_over)


def _of_members(
    files: Mapping[str, bytes], workspace: Mapping[str, list[str]], passed_over: list[str]
) -> Iterator[tuple[str, bytes]]:
    for name, content in files.items():
        folder = name.removesuffix(f"/{PROJECT}")
        globs = workspace.get("members", [])
        if folder != name and any(fnmatchcase(folder, glob.rstrip("/")) for glob in globs):
            with suppress(ReleaseError):  # not one of them, or uv misses it
                yield name, toml.document(_project(toml.read(name, content), name, passed_over))


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ReleaseError(f"{REQUIREMENTS} is not UTF-8 text.") from None


def _allowed(
    table: Mapping[str, Any], checks: Mapping[str, Check], where: str, passed_over: list[str]
) -> dict[str, Any]:
    kept = {}
    for key, value in table.items():
        if key in checks and checks[key](value):
            kept[key] = value
        else:
            passed_over.append(f"{where}: {key}")
    return kept


def _project(document: dict[str, Any], where: str, passed_over: list[str]) -> dict[str, Any]:
    tool = document.get("tool")
    own = tool.get("uv", {}) if isinstance(tool, dict) else {}
    if not isinstance(own, dict):
        raise ReleaseError(f"{where}: [tool.uv] is not a table.")
    settings = _allowed(own, WANTED, f"{where}, [tool.uv]", passed_over)
    # Whether there is a package to build decides how the lock names it; nothing is built of it.
    settings.setdefault("package", "build-system" in document)
    found: dict[str, Any] = {}
    if isinstance(project := document.get("project"), dict):
        found["project"] = _allowed(project, OF_PROJECT, where, [])
    if GROUPS(groups := document.get("dependency-groups", {})):
        found["dependency-groups"] = groups
    return {**found, "tool": {"uv": settings}}


def _indexes(settings: Mapping[str, Any], rules: Rules) -> set[str]:
    """Return the addresses of a file's indexes. Raises ReleaseError where one is none."""
    found = [index.get("url", "") for index in settings.get("index", [])]
    found += [settings.get("index-url", PYPI), *settings.get("extra-index-url", [])]
    for url in found:
        _over_https(url, "an index", rules)
    return set(map(_bare, found))


def _locked(
    lock: dict[str, Any], rules: Rules, indexes: set[str]
) -> tuple[set[str], dict[str, int]]:
    """Return the packages of a lock, and the bytes of what would be fetched of them."""
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
            _over_https(registry, name, rules)
            if _bare(registry) not in indexes:
                raise _wrong(name, "comes from an index that the project doesn't name")
            if size := _files(package, name, registry, rules):
                sizes[name] = sizes.get(name, 0) + size
        elif "git" in source:
            _git(source["git"], name, rules)
        elif not _is_own(source, name, members):
            raise _wrong(
                name, "comes from a folder, a file or an address, not from an index. Publish it, or"
                " move its code into that of the app"
            )  # fmt: skip
    return names, sizes


def _members(lock: dict[str, Any]) -> set[str]:
    manifest = lock.get("manifest")
    found = manifest.get("members") if isinstance(manifest, dict) else None
    return set(found) if found and _texts(found) else set()


def _is_own(source: Mapping[str, str], name: str, members: set[str]) -> bool:
    """Tell whether a package is the project, or a member of its workspace: neither is installed."""
    [(kind, path), *more] = source.items()
    if more or kind not in {"virtual", "editable", "directory"}:
        return False
    return path == "." or (name in members and _below(path))


def _git(url: str, name: str, rules: Rules) -> None:
    if not rules.build:
        raise _wrong(name, "comes from git, which needs `build` among the app's settings")
    address, _, commit = url.partition("#")
    if urlsplit(address).scheme not in {"https", "ssh"} or not COMMIT.fullmatch(commit):
        raise _wrong(name, "comes from git, but not over HTTPS or SSH by a commit")


def _files(package: dict[str, Any], name: str, registry: str, rules: Rules) -> int:
    """Check what could be fetched of a package; return how many bytes it would be, or 0."""
    wheels, sdist = package.get("wheels", []), package.get("sdist")
    if not _list(lambda wheel: isinstance(wheel, dict))(wheels):
        raise _wrong(name, "has wheels that are not a list")
    for file in [*wheels, *([sdist] if sdist is not None else [])]:
        if not isinstance(file, dict) or not _text(file.get("url")) or "path" in file:
            raise _wrong(name, "has a file without an address")
        _over_https(file["url"], name, rules)
        _at_home(file["url"], name, registry, rules)
        if rules.by_key and not (_text(file.get("hash")) and HASH.fullmatch(file["hash"])):
            raise _wrong(name, "has a file without a hash, which a deploy key's must have")
    fitting = [wheel for wheel in wheels if _fits(wheel["url"], rules.machine)]
    sizes = [file.get("size", 0) for file in fitting or ([sdist] if sdist else [])]
    return max((size for size in sizes if isinstance(size, int) and size > 0), default=0)


def _fits(url: str, machine: str) -> bool:
    """Tell whether a wheel could be one for this machine, by its name."""
    tag = urlsplit(url).path.removesuffix(".whl").rpartition("-")[2]
    return tag == "any" or ("linux" in tag and machine in tag and "musl" not in tag)


def _at_home(url: str, name: str, registry: str, rules: Rules) -> None:
    """Raise ReleaseError where a file is not its index's: it would be another's under its name."""
    home, host = urlsplit(registry).hostname or "", urlsplit(url).hostname
    if host == home or host in FILES_OF.get(home, ()):
        return
    if home in FILES_OF or rules.by_key:
        raise _wrong(name, f"is said to be {home}'s, and lies at another host")


def _over_https(url: str, what: str, rules: Rules) -> None:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    # A person may have an index of their own without TLS; whoever has a key may not.
    if not good or parts.scheme not in {"https", *(() if rules.by_key else ("http",))}:
        raise _wrong(what, "has an address that is none of HTTPS")


def _bare(url: str) -> str:
    """Return an index's address as one compares it: without user, password and last slash."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _wrong(name: str, what: str) -> ReleaseError:
    return ReleaseError(f"The archive's {LOCK} or {PROJECT}: {name} {what}.")


def indexes_of(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield the addresses of the indexes that variables for uv name."""
    for variable in INDEX_VARIABLES:
        for word in variables.get(variable, "").split():
            name, separator, url = word.partition("=")
            yield url if separator and NAME.fullmatch(name) else word


def indexes_in(document: Mapping[str, Any]) -> Iterable[str]:
    """Yield those of a server's own uv.toml."""
    for index in document.get("index", []):
        yield str(index.get("url", ""))
    yield from filter(None, [document.get("index-url"), *document.get("extra-index-url", [])])
