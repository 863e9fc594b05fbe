"""Of what an archive says about its packages uv is given the harmless, and nothing else."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from onebox_release.errors import ReleaseError
from onebox_release.install import packages, toml
from onebox_release.install.packages import Rules

KEY = Rules(build=False, by_key=True)
PERSON = Rules(build=False, by_key=False)
BUILDS = Rules(build=True, by_key=False)
SHA = "sha256:" + "ab" * 32
PYPI = "https://pypi.org/simple"
FILES = "https://files.pythonhosted.org/packages"
PROJECT = '[project]\nname = "app"\nversion = "1"\ndependencies = ["fastapi"]\n'


def package(source: str, *, name: str = "fastapi", url: str = "", digest: str = SHA) -> str:
    """Return a package as a lock has it."""
    url = url or f"{FILES}/{name}-1-py3-none-any.whl"
    said = f', hash = "{digest}"' if digest else ""
    return (
        f'[[package]]\nname = "{name}"\nversion = "1"\nsource = {source}\n'
        f'wheels = [{{ url = "{url}"{said}, size = 1000 }}]\n'
    )


def at(registry: str = PYPI) -> str:
    return f'{{ registry = "{registry}" }}'


OWN = '[[package]]\nname = "app"\nversion = "1"\nsource = { virtual = "." }\n'
LOCK = f"version = 1\n{OWN}{package(at())}"


def read(rules: Rules = KEY, /, **files: str) -> packages.Project:
    """Read an archive of these files; `lock`, `project`, `settings` or `requirements`."""
    names = {
        "lock": "uv.lock", "project": "pyproject.toml", "settings": "uv.toml",
        "requirements": "requirements.txt",
    }  # fmt: skip
    if "requirements" not in files:
        files = {"lock": LOCK, "project": PROJECT, **files}
    return packages.read({names.get(key, key): text.encode() for key, text in files.items()}, rules)


def given(project: packages.Project, name: str = "pyproject.toml") -> dict[str, Any]:
    return tomllib.loads(project.files[name].decode())


def test_a_lock_goes_through_as_it_is() -> None:
    project = read()
    assert project.files["uv.lock"].decode() == LOCK
    assert (project.locked, project.builds, set(project.names)) == (True, False, {"app", "fastapi"})
    assert project.wheels == {"fastapi": 1000}
    assert given(project) == {
        "project": {"name": "app", "version": "1", "dependencies": ["fastapi"]},
        "dependency-groups": {},
        "tool": {"uv": {"package": False}},
    }


def test_what_a_lock_was_made_under_goes_through() -> None:
    settings = {
        "package": True,
        "index": [{"name": "corp", "url": "https://corp.example/simple", "explicit": True}],
        "sources": {"mine": {"index": "corp"}, "two": [{"workspace": True, "marker": "x"}]},
        "default-groups": ["live"],
        "constraint-dependencies": ["a<2"],
        "environments": ["sys_platform == 'linux'"],
        "conflicts": [[{"extra": "a"}, {"extra": "b"}]],
        "dependency-metadata": [{"name": "a", "requires-dist": ["b"]}],
        "exclude-newer": "2026-01-01",
        "workspace": {"members": ["libs/*"]},
    }
    document = {
        "project": {"name": "app", "optional-dependencies": {"x": ["y>1 \x7f\"'\\é"]}},
        "dependency-groups": {"live": ["a", {"include-group": "b"}]},
        "tool": {"uv": settings, "ruff": {"line-length": 100}},
        "build-system": {"requires": ["hatchling"]},
    }
    project = read(PERSON, project=toml.dumps(document).decode())
    assert given(project) == {
        "project": {"name": "app", "optional-dependencies": {"x": ["y>1 \x7f\"'\\é"]}},
        "dependency-groups": {"live": ["a", {"include-group": "b"}]},
        "tool": {"uv": settings},
    }
    assert project.ignored == []


# Each could have uv run code, write anywhere, or read any file.
SETTINGS = [
    "compile-bytecode = true",
    'cache-dir = "/etc"',
    'find-links = ["/srv/other"]',
    "no-build = false",
    "no-build-isolation = true",
    'no-build-isolation-package = ["evil"]',
    'extra-build-dependencies = { evil = ["evil"] }',
    'extra-build-variables = { evil = { PATH = "/tmp" } }',
    'config-settings = { "--global-option" = "x" }',
    'keyring-provider = "subprocess"',
    'python-downloads = "automatic"',
    'python-install-mirror = "file:///srv"',
    'python-preference = "only-managed"',
    'link-mode = "symlink"',
    "native-tls = false",
    'allow-insecure-host = ["pypi.org"]',
    'pip = { target = "/usr/lib/python3/dist-packages" }',
    "managed = false",
    'build-backend = { module-root = "/" }',
    'publish-url = "https://evil.example"',
    'required-version = "==0.1"',
    'cache-keys = [{ file = "/etc/shadow" }]',
    'sources = { fastapi = { path = "/var/lib/links/p1" } }',
    'sources = { fastapi = { url = "https://evil.example/a.whl" } }',
    'sources = { fastapi = { path = "../x", editable = true } }',
    'workspace = { members = ["../../etc"] }',
    'workspace = { members = ["/etc"] }',
    'index-strategy = "other"',
    'index = [{ url = "https://a.example", cache-control = { api = "x" } }]',
    'dev-dependencies = { a = "b" }',
    'sources = "x"',
    '"a\\u001b[2J" = 1',
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_any_other_setting_is_passed_over_and_named(setting: str) -> None:
    project = read(project=f"{PROJECT}[tool.uv]\n{setting}\n")
    assert given(project)["tool"]["uv"] == {"package": False}
    assert len(project.ignored) == 1
    [key] = tomllib.loads(setting)
    assert project.ignored == [f"pyproject.toml, [tool.uv]: {key}"]
    beside = read(requirements=f"a==1 --hash={SHA}\n", settings=setting)
    assert given(beside, "uv.toml") == {}


def test_of_the_project_nothing_is_given_that_names_a_file() -> None:
    more = 'readme = "/etc/shadow"\nlicense = { file = "/etc/shadow" }\ndynamic = ["version"]\n'
    more += '[project.scripts]\n"../../x" = "a:b"\n[build-system]\nrequires = []\n'
    more += 'build-backend = "evil"\nbackend-path = ["."]\n'
    document = given(read(project=PROJECT + more))
    assert document.keys() == {"project", "dependency-groups", "tool"}
    assert document["project"].keys() == {"name", "version", "dependencies", "dynamic"}
    assert document["tool"]["uv"] == {"package": True}, "as the lock has it; it is not installed"


def test_files_beside_are_none_of_uvs() -> None:
    project = read(
        **{".env": "UV_INDEX=x", ".python-version": "3.1", "pip.conf": "x", ".netrc": "x"},
        **{"setup.py": "x", "sub/uv.toml": "x", "sub/uv.lock": "x", "uv.lock.bak": "x"},
    )
    assert project.files.keys() == {"uv.lock", "pyproject.toml"}


def test_members_of_a_workspace_are_given_and_cleaned() -> None:
    whole = f'{PROJECT}[tool.uv.workspace]\nmembers = ["libs/*"]\n'
    evil = '[project]\nname = "b"\n[tool.uv]\ncompile-bytecode = true\n'
    lock = f'[manifest]\nmembers = ["app", "b"]\n{LOCK}' + package(
        '{ editable = "libs/b" }', name="b"
    )
    project = read(
        project=whole,
        lock=lock,
        **{
            "libs/b/pyproject.toml": evil,
            "tests/pyproject.toml": evil,
            "libs/c/pyproject.toml": "x",
        },
    )
    assert project.files.keys() == {"uv.lock", "pyproject.toml", "libs/b/pyproject.toml"}
    assert given(project, "libs/b/pyproject.toml")["tool"] == {"uv": {"package": False}}


HOSTILE = {
    "a folder": package('{ directory = "/var/lib/links/p1" }'),
    "a folder beside": package('{ directory = "p1" }'),
    "a path": package('{ path = "/etc/shadow" }'),
    "a wheel beside": package('{ path = "evil-1-py3-none-any.whl" }'),
    "an editable folder": package('{ editable = "../other" }'),
    "a virtual folder": package('{ virtual = "/srv/other" }'),
    "an address": package('{ url = "https://evil.example/a.whl" }'),
    "a local address": package('{ url = "file:///etc/shadow" }'),
    "git": package(f'{{ git = "https://evil.example/a.git#{"a" * 40}" }}'),
    "two sources": package('{ virtual = ".", path = "/etc/shadow" }'),
    "no source": '[[package]]\nname = "a"\n',
    "a source that is none": '[[package]]\nname = "a"\nsource = 5\n',
    "an unknown source": package('{ new = "x" }'),
    "an index in a folder": package(at("file:///srv/other")),
    "an index in a path": package('{ registry = "../wheels" }'),
    "an index without TLS": package(at("http://pypi.org/simple")),
    "an index that nobody named": package(at("https://evil.example/simple")),
    "an index with PyPI as its user": package(at("https://pypi.org@evil.example/simple")),
    "an index on another port": package(at("https://pypi.org:8443/simple")),
    "an index that is no address": package(at("https://[pypi")),
    "another's file as PyPI's": package(at(), url="https://evil.example/a-1-py3-none-any.whl"),
    "a file by its user as PyPI's": package(at(), url="https://files.pythonhosted.org@evil.example/a.whl"),
    "a file without TLS": package(at(), url="http://files.pythonhosted.org/a.whl"),
    "a file in a folder": package(at(), url="file:///var/lib/links/a-1-py3-none-any.whl"),
    "metadata's address": package(at(), url="https://169.254.169.254/a.whl"),
    "a file without an address": package(at()).replace("url", "filename"),
    "a file with a path": package(at()).replace("{ url", '{ path = "/etc/shadow", url'),
    "no hash": package(at(), digest=""),
    "a weak hash": package(at(), digest="md5:" + "a" * 32),
    "a hash of no kind": package(at(), digest="x"),
    "an sdist of another's": package(at()) + 'sdist = { url = "https://evil.example/a.tar.gz" }\n',
    "an sdist that is none": package(at()) + "sdist = 5\n",
    "a name with a line break": package(at(), name="a\\nb"),
    "a name with an escape": package(at(), name="a\\u001b[2J"),
    "a name that is a path": package(at(), name="../../etc"),
    "no list": "package = 5\n",
    "packages that are none": "package = [5]\n",
    "wheels that are none": f'[[package]]\nname = "a"\nsource = {at()}\nwheels = 5\n',
    "no TOML": "x",
    "deep nesting": "x = " + "[" * 100_000,
    "a huge number": "x = " + "1" * 100_000,
    "no text": "\udcff",
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_lock_of_anything_else_is_refused_in_words_of_ours(what: str) -> None:
    lock = HOSTILE[what]
    files = {"uv.lock": lock.encode(errors="surrogateescape"), "pyproject.toml": PROJECT.encode()}
    with pytest.raises(ReleaseError) as error:
        packages.read(files, KEY)
    told = str(error.value)
    assert told.isprintable()
    assert "shadow" not in told


@pytest.mark.parametrize(
    "index",
    [
        "file:///srv/other", "/srv/other", "../other", "http://corp.example/simple", "https://",
        "ftp://corp.example", "git+https://corp.example", "https://corp.example:0/", "",
    ],
)  # fmt: skip
def test_an_index_of_a_deploy_keys_is_one_over_https(index: str) -> None:
    for key in (f'index = [{{ name = "x", url = "{index}" }}]', f'extra-index-url = ["{index}"]'):
        with pytest.raises(ReleaseError, match="a URL that is not HTTPS"):
            read(project=f"{PROJECT}[tool.uv]\n{key}\n")
        with pytest.raises(ReleaseError, match="a URL that is not HTTPS"):
            read(requirements="", settings=f"{key}\n")


def test_indexes_may_be_named_by_the_archive_the_server_and_the_inventory() -> None:
    lock = f"{OWN}{package(at('https://corp.example/simple'), url='https://corp.example/a.whl')}"
    named = (
        f'{PROJECT}[tool.uv]\nindex = [{{ name = "x", url = "https://corp.example/simple/" }}]\n'
    )
    with pytest.raises(ReleaseError, match="comes from an index that the project does not name"):
        read(lock=lock)
    assert read(lock=lock, project=named).names
    variables = {"UV_EXTRA_INDEX_URL": "https://me:s3cret@corp.example/simple"}
    inventory = frozenset(packages.indexes_of(variables))
    assert read(Rules(build=False, by_key=False, indexes=inventory), lock=lock).names
    server = frozenset(packages.indexes_in({"index": [{"url": "https://corp.example/simple"}]}))
    assert read(Rules(build=False, by_key=True, indexes=server), lock=lock).names
    named_one = packages.indexes_of({"UV_INDEX": "corp=https://a.example/b=c https://d.example"})
    assert list(named_one) == ["https://a.example/b=c", "https://d.example"]


def test_a_person_may_leave_out_hashes_and_have_files_elsewhere() -> None:
    lock = f"{OWN}{package(at('http://corp.example/'), url='http://cdn.example/a.whl', digest='')}"
    project = f'{PROJECT}[tool.uv]\nindex-url = "http://corp.example/"\n'
    assert read(PERSON, lock=lock, project=project).names == {"app", "fastapi"}
    with pytest.raises(ReleaseError, match="not HTTPS"):
        read(KEY, lock=lock, project=project)
    with pytest.raises(
        ReleaseError, match=r"comes from the index pypi\.org, but has a file on another host"
    ):
        read(PERSON, lock=OWN + package(at(), url="https://evil.example/a.whl"))


@pytest.mark.parametrize(
    ("git", "good"),
    [
        ("https://git.example/a.git?rev=main#" + "a" * 40, True),
        ("ssh://git@git.example/a.git#" + "a" * 40, True),
        ("https://git.example/a.git#main", False),
        ("https://git.example/a.git", False),
        ("file:///srv/other#" + "a" * 40, False),
        ("http://git.example/a#" + "a" * 40, False),
        ("ext::sh -c id#" + "a" * 40, False),
        ("/srv/other#" + "a" * 40, False),
    ],
)
def test_git_is_for_who_builds_and_by_a_commit(git: str, *, good: bool) -> None:
    lock = OWN + package(f'{{ git = "{git}" }}')
    with pytest.raises(ReleaseError, match="needs the app's setting `build`"):
        read(PERSON, lock=lock)
    if good:
        assert read(BUILDS, lock=lock).names == {"app", "fastapi"}
    else:
        with pytest.raises(ReleaseError, match="must be pinned to a commit over HTTPS or SSH"):
            read(BUILDS, lock=lock)


def test_a_deploy_keys_requirements_have_hashes() -> None:
    assert read(requirements=f"a[b]==1 --hash={SHA}\n").names == {"a"}
    with pytest.raises(ReleaseError, match="a line without a hash"):
        read(requirements=f"a==1 --hash={SHA}\nb==1\n")
    assert read(PERSON, requirements="a==1\n").names == {"a"}
    with pytest.raises(ReleaseError, match="is not UTF-8 text"):
        packages.read({"requirements.txt": b"\xff"}, KEY)


def test_sizes_are_those_of_what_this_machine_would_fetch() -> None:
    wheel = '{{ url = "{}/a-1-{}.whl", hash = "{}", size = {} }}'
    tags = {"cp311-cp311-manylinux_2_17_x86_64": 50, "cp311-cp311-win_amd64": 9000,
            "cp311-cp311-musllinux_1_2_x86_64": 9000, "cp313-cp313-manylinux_2_17_x86_64": 60,
            "cp313-cp313-manylinux_2_17_aarch64": 9000}  # fmt: skip
    wheels = ", ".join(wheel.format(FILES, tag, SHA, size) for tag, size in tags.items())
    lock = f'{OWN}[[package]]\nname = "a"\nsource = {at()}\nwheels = [{wheels}]\n'
    assert read(lock=lock).wheels == {"a": 60}


def test_the_same_packages_by_other_rules_are_another_environment() -> None:
    index = f'{PROJECT}[tool.uv]\nindex-url = "https://corp.example/simple"\n'
    assert len({read(PERSON).key, read(BUILDS).key, read(PERSON, project=index).key}) == 3


def test_only_files_about_packages_are_kept_and_few_of_them() -> None:
    def content() -> bytes:
        return b"x"

    many = [(f"{number}/pyproject.toml", 1, content) for number in range(500)]
    files = [("uv.lock", 1, content), ("a.py", 1, content), ("b/uv.lock", 1, content), *many]
    found = packages.collect([*files, ("c/pyproject.toml", 10**9, content)])
    assert len(found) == packages.MOST_MEMBERS
    assert {"a.py", "b/uv.lock"}.isdisjoint(found)
    with pytest.raises(ReleaseError, match=r"uv\.lock is larger than 8 MiB"):
        packages.collect([("uv.lock", 9 << 20, content)])
