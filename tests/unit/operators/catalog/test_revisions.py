"""The revision that a due makes, and its event."""

from uuid import UUID

import pytest

from operators.catalog.revisions import next_revision, revision_event
from operators.catalog.rows import StudyKey
from operators.connectors.memory.catalog import MemoryCatalog
from schemas.events import Facts
from tests.support.worlds.catalog_histories import NOON, due, instance, numbered, run


def test_a_revision_lists_at_most_a_thousand_series() -> None:
    catalog = MemoryCatalog()
    run(catalog, [numbered([instance(series=str(number), sop=str(number)) for number in range(1001)])])
    with catalog.transaction(0) as tables:
        revision = next_revision(tables.state(StudyKey("local", "1.2.1"), UUID(due().event_id)), due(), 0, NOON)

    assert revision is not None
    assert (len(revision.series), revision.series_truncated, revision.instances) == (1000, True, 1001)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("CHEST", "CHEST"),
        ("Chest", "Chest"),
        ("L SPINE_2", "L SPINE_2"),
        (" KNEE ", "KNEE"),
        (None, None),
        ("Knee of Jane Doe", "other"),
        ("DOE^JANE", "other"),
        ("MÜLLER", "other"),
        ("KNEE OF JANE DOE.", "other"),
        ("KNEE 0123456789ABC", "other"),
        ("KNEE\\DOE", "other"),
    ],
)
def test_an_event_tells_a_modality_and_a_body_part_only_in_the_form_of_a_code(
    typed: str | None, told: str | None
) -> None:
    catalog = MemoryCatalog()
    facts = Facts(modality=typed, body_part_examined=typed)
    run(catalog, [numbered([instance(facts=facts), due()])])
    (row,) = catalog.tables.revision_rows.values()
    event = revision_event(row)

    assert [(one.modality, one.body_part) for one in event.series] == [(told, told)]
    assert event.modalities == ((told,) if told else ())
