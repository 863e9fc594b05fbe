"""lab/guest.py: files in the guest's tree."""

from pathlib import Path

from lab import guest


def test_a_link_in_the_guests_tree_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("ours")
    (tmp_path / "resolv.conf").symlink_to(outside)
    guest._put(tmp_path / "resolv.conf", "theirs")
    assert outside.read_text() == "ours"
    assert (tmp_path / "resolv.conf").read_text() == "theirs"
