"""Objects of other roles are given to the database's owner."""

from __future__ import annotations

from dataclasses import replace

from operations.difference import Difference, differences_of
from operations.postgresql.ownership import MISOWNED
from operations.postgresql.psql import PSQL
from tests.unit.hosts import stdin, text
from tests.unit.operations.postgresql.clusters import CONTENT, GOOD, VARIABLES, repairs


def test_objects_of_another_role_are_transferred() -> None:
    content = replace(CONTENT, other_owners=("old", "post\x1bgres"))
    [transfer] = repairs(replace(GOOD, contents=(content,)))
    assert text(transfer) == f"{PSQL} {VARIABLES} -d links"
    assert stdin(transfer) == f"{MISOWNED}\nselect statement from misowned \\gexec\n"
    how = "has objects owned by 'old', 'post\\x1bgres', not links-migrate"
    assert differences_of(transfer) == (Difference("database links", how),)
