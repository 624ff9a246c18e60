"""The revision that a due makes."""

from uuid import UUID

from operators.catalog.revisions import next_revision
from operators.catalog.rows import StudyKey
from operators.connectors.memory.catalog import MemoryCatalog
from tests.support.worlds.catalog_histories import NOON, due, instance, numbered, run


def test_a_revision_lists_at_most_a_thousand_series() -> None:
    catalog = MemoryCatalog()
    run(catalog, [numbered([instance(series=str(number), sop=str(number)) for number in range(1001)])])
    with catalog.transaction(0) as tables:
        revision = next_revision(tables.state(StudyKey("local", "1.2.1"), UUID(due().event_id)), due(), 0, NOON)

    assert revision is not None
    assert (len(revision.series), revision.series_truncated, revision.instances) == (1000, True, 1001)
