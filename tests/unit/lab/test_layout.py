"""lab/layout.py: a lab's folders and names."""

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.layout import Lab, this_lab


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEBOX_LAB_ROOT", raising=False)
    monkeypatch.delenv("ONEBOX_LAB_CACHE", raising=False)


def test_the_default_lab_has_short_names() -> None:
    lab = this_lab()
    assert (str(lab.root), str(lab.cache)) == ("/var/lib/onebox-lab", "/var/cache/onebox-lab")
    assert (lab.bridge, lab.table, lab.cgroup) == ("onebox0", "onebox_lab", "onebox-lab")
    assert lab.namespace("web") == "onebox-web"


def test_a_lab_with_another_root_has_its_own_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONEBOX_LAB_ROOT", "/var/lib/other")
    other = this_lab()
    assert other == Lab(root=Path("/var/lib/other"))
    assert other.prefix != Lab().prefix
    assert other.prefix != Lab(root=Path("/var/lib/third")).prefix


def test_interface_names_fit_the_kernel() -> None:
    for lab in (Lab(), Lab(root=Path("/a/long/path/that/is/somewhere/else"))):
        assert len(lab.veth(254)) <= 15
        assert len(lab.bridge) <= 15


@pytest.mark.parametrize("value", ["relative/path", "/", "/var", "/var/a b", "/var/a,b", "/x:y/z"])
def test_a_root_that_would_break_mount_options_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ONEBOX_LAB_ROOT", value)
    with pytest.raises(LabError) as refused:
        this_lab()
    assert str(refused.value).startswith(f"ONEBOX_LAB_ROOT is {value!r}, but must be an absolute")
    assert str(refused.value).endswith("like /var/lib/onebox-lab, or unset it.")
