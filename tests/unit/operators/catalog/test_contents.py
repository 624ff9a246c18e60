"""Which content of an instance is shown, and how the others differ from it."""

from typing import Any

import pytest

from operators.catalog import contents
from operators.catalog.projection import storable_instance
from schemas.events import Facts
from tests.support.worlds.catalog_histories import EXPLICIT, JPEG, instance


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"facts": Facts(patient_id="P2"), "transfer_syntax": JPEG}, "patient"),
        ({"transfer_syntax": JPEG}, "re-encoded"),
        ({"transfer_syntax": EXPLICIT}, "content"),
    ],
)
def test_the_kind_of_a_conflict_tells_how_the_contents_differ(change: dict[str, Any], kind: str) -> None:
    shown, lost = (
        storable_instance(instance()).content,
        storable_instance(instance(content="b", second=1, **change)).content,
    )
    found = contents.merge([], [lost, shown])

    assert found.shown == shown
    assert [row.kind for row in found.lost] == [kind]
