"""The page has a table of each kind, with a row for each part."""

from deploy.sizing import costs, page
from deploy.sizing.load import Load

LOAD = Load(studies_a_day=500)


def test_every_part_is_in_the_tables_of_costs_and_of_cores() -> None:
    for table in (page.costs_table(), page.cores_table(LOAD)):
        assert all(f"| {part.name} |" in table for part in costs.PARTS)


def test_the_simulated_table_begins_with_a_usual_hour_and_goes_beyond_the_burst() -> None:
    rows = page.simulated_table(LOAD).splitlines()[2:]

    assert [row.split(" | ")[0] for row in rows[:2]] == ["| the busiest hour", "| the burst"]
    assert len(rows) == 2 + len(page.FACTORS)
