"""lab/image.py: a recipe's key, and which images a build removes."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab import image
from lab.image import Recipe
from lab.layout import Lab

RECIPE = Recipe("debian12", "bookworm", "minbase", ("systemd",), "Types: deb\n")


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.images.mkdir(parents=True)
    return lab


def bootstrap(recipe: Recipe, draft: Path) -> None:
    assert recipe.suite == "bookworm"
    (draft / "etc/ssh").mkdir(parents=True)
    (draft / "etc/apt/sources.list.d").mkdir(parents=True)
    for name in ("etc/machine-id", "etc/ssh/ssh_host_rsa_key", "etc/apt/sources.list"):
        (draft / name).touch()


def test_the_key_changes_with_anything_in_the_recipe() -> None:
    changed = [
        replace(RECIPE, packages=("systemd", "sudo")),
        replace(RECIPE, sources="Types: deb-src\n"),
        replace(RECIPE, options=('Acquire::Retries "3";',)),
        replace(RECIPE, files=(("etc/motd", "hello"),)),
        replace(RECIPE, commands=(("true",),)),
    ]
    assert len({RECIPE.key, *(recipe.key for recipe in changed)}) == 6
    assert RECIPE.key == replace(RECIPE).key
    assert RECIPE.key.startswith("debian12-")


def test_nothing_that_a_deploy_installs_is_in_the_image() -> None:
    assert not {"nginx", "nftables", "python3-venv", "postgresql"} & set(image.PACKAGES)


def test_a_cached_image_is_not_built_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.images / RECIPE.key).mkdir()
    monkeypatch.setattr(image, "_build", None)
    assert image.ensure(lab, RECIPE, "it", 1) == lab.images / RECIPE.key


def test_a_build_leaves_the_new_image_and_those_in_use(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image, "_bootstrap", bootstrap)
    for name in ("debian12-old", "debian12-used", "debian13-other", ".building-debian12-cut"):
        (lab.images / name).mkdir()
    cut = lab.images / f".building-{RECIPE.key}/etc"
    cut.mkdir(parents=True)
    recipe = replace(RECIPE, files=(("etc/sudoers.d/90-x", "x ALL=(ALL) ALL\n"),))
    tree = image.ensure(lab, recipe, "the image", 20, lambda: {"images/debian12-used"})
    assert capsys.readouterr().err == "Building the image (once; about 20 s) ...\n"
    assert {path.name for path in lab.images.iterdir()} == {
        *(tree.name, "debian12-used", "debian13-other")
    }
    assert (tree / "etc/sudoers.d/90-x").stat().st_mode & 0o777 == 0o440


def test_an_image_has_no_identity(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_bootstrap", bootstrap)
    tree = image.ensure(lab, RECIPE, "the image", 20)
    assert [str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()] == []
