"""lab/snapshot.py: interrupted copies."""

from lab import snapshot
from lab.layout import Lab


def test_an_interrupted_copy_is_removed_by_the_next_command(lab: Lab) -> None:
    (lab.snapshots / ".making-x.1.1/tree").mkdir(parents=True)
    snapshot.sweep(lab)
    assert list(lab.snapshots.iterdir()) == []
