"""Facts as a database accepts them: typed, bounded and clean, with a warning for each fact that was lost or cut."""

from dataclasses import replace
from datetime import date, time
from typing import Any

import pytest

from operators.catalog.storable import storable_values
from schemas.events import Facts

NOTHING_WRITTEN = Facts()
# Of 16 characters each, the most of an SH (PS3.5 6.2).
SIXTEEN = tuple(f"{n:016}" for n in range(16))


@pytest.mark.parametrize(
    ("fact", "text", "value", "warnings"),
    [
        ("study_date", "20260301", date(2026, 3, 1), ()),
        ("study_date", " 2026.03.01 ", date(2026, 3, 1), ()),
        ("study_date", "20260230", None, ("study-date-unreadable",)),
        ("study_date", "2026-03-01", None, ("study-date-unreadable",)),
        ("study_date", "", None, ()),
        ("patient_birth_date", "00000000", None, ("patient-birth-date-unreadable",)),
        ("patient_birth_date", "99991231", date(9999, 12, 31), ()),
        ("study_time", "123456.789", time(12, 34, 56, 789000), ()),
        ("study_time", "1234", time(12, 34), ()),
        ("study_time", "12", time(12), ()),
        ("study_time", "12:34:56", time(12, 34, 56), ()),
        ("study_time", "235960", time(23, 59, 59), ()),
        ("study_time", "235961", None, ("study-time-unreadable",)),
        ("study_time", "2460", None, ("study-time-unreadable",)),
        ("series_number", " +7", 7, ()),
        ("series_number", "7.5", None, ("series-number-unreadable",)),
        ("series_number", "2147483648", None, ("series-number-unreadable",)),
        ("series_number", "-2147483648", -(2**31), ()),
        ("series_number", "9" * 5000, None, ("series-number-unreadable",)),
        ("rows", 2**31, None, ("rows-unreadable",)),
        ("patient_id", " P\x001 ", "P1", ()),
        ("patient_id", "\ud800", "", ()),
        ("patient_id", "x" * 257, "x" * 256, ("patient-id-cut",)),
        ("patient_id", None, None, ()),
        ("requested_procedure_id", "A\\B\x00C\\\\ A ", ("A", "B", "C"), ()),
        ("requested_procedure_id", "\\".join(SIXTEEN), SIXTEEN, ()),
        ("requested_procedure_id", "x" * 257 + "\\y", ("x" * 256, "y"), ("requested-procedure-id-cut",)),
    ],
)
def test_a_fact_is_made_storable(fact: str, text: Any, value: Any, warnings: tuple[str, ...]) -> None:
    values, found = storable_values(replace(NOTHING_WRITTEN, **{fact: text}))

    assert (values[fact], found) == (value, warnings)
