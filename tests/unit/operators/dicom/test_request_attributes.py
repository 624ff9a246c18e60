"""What was ordered, out of the items of Request Attributes Sequence, however the sequence is written (PS3.5 7.5)."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite

from operators.catalog.attributes import requests
from operators.dicom.instance import examine, split_part10
from operators.dicom.scan import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from operators.errors import Rejected
from schemas.events import Facts
from tests.support.worlds.reading import CT


def item(step: str | None, procedure: str | None = None, **more: Any) -> Dataset:
    """Return an item; None leaves an element out."""
    made = Dataset()
    for keyword, value in {"ScheduledProcedureStepID": step, "RequestedProcedureID": procedure, **more}.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def code() -> Dataset:
    made = Dataset()
    made.CodeValue, made.ScheduledProcedureStepID = "C1", "not this one"
    return made


def facts(items: list[Dataset], transfer_syntax: str = EXPLICIT_VR_LITTLE_ENDIAN, *, is_open: bool = False) -> Facts:
    """Return what is read of an image with these items."""
    whole = Dataset()
    whole.SpecificCharacterSet = "ISO_IR 100"
    whole.SOPClassUID, whole.SOPInstanceUID, whole.StudyInstanceUID, whole.SeriesInstanceUID = CT, "1.1", "1.2", "1.3"
    whole.RequestAttributesSequence = items
    whole["RequestAttributesSequence"].is_undefined_length = is_open
    for one in items:
        one.is_undefined_length_sequence_item = is_open
        for element in one:
            if element.VR == "SQ":
                element.is_undefined_length = is_open
    is_little = transfer_syntax != EXPLICIT_VR_BIG_ENDIAN
    buffer = BytesIO()
    dcmwrite(buffer, whole, implicit_vr=transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN, little_endian=is_little)
    return examine(buffer.getvalue(), transfer_syntax, 0).facts


SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
@pytest.mark.parametrize("is_open", [False, True])
def test_ids_are_read_of_every_item_however_it_is_written(transfer_syntax: str, is_open: bool) -> None:  # noqa: FBT001
    items = [item("S1", "R1", ScheduledProtocolCodeSequence=[code()]), item(None, "R2"), item("Größe", None)]
    found = facts(items, transfer_syntax, is_open=is_open)

    assert found.scheduled_procedure_step_id == "S1\\\\Größe"
    assert found.requested_procedure_id == "R1\\R2\\"


@pytest.mark.parametrize("items", [[], [item(None)], [item("", "")]])
def test_a_sequence_that_says_nothing_is_no_fact(items: list[Dataset]) -> None:
    found = facts(items)

    assert (found.scheduled_procedure_step_id, found.requested_procedure_id) == (None, None)


def test_no_more_than_sixteen_items_and_no_long_sequence_is_read() -> None:
    many, long = facts([item(str(n)) for n in range(20)]), facts([item("S", "R" * 16)] * 4000)

    assert (many.scheduled_procedure_step_id or "").count("\\") == 15
    assert long.requested_procedure_id is None


def test_the_items_come_back_as_a_sequence() -> None:
    assert requests("S1\\", "R1\\R2") == [
        {"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["R1"]}},
        {"00400009": {"vr": "SH"}, "00401001": {"vr": "SH", "Value": ["R2"]}},
    ]
    assert requests(None, None) is None


def test_ids_are_those_that_pydicom_finds(corpus: Path) -> None:
    seen = 0
    for path in sorted(corpus.rglob("*")):
        whole = path.read_bytes() if path.is_file() else b""
        try:
            split = split_part10(whole)
            found = examine(whole[split.prefix_length :], split.transfer_syntax, split.prefix_length).facts
        except Rejected:
            continue
        wanted = by_pydicom(whole)
        seen += any(wanted)

        assert (found.scheduled_procedure_step_id, found.requested_procedure_id) == wanted, path.name

    assert seen > 3


def by_pydicom(whole: bytes) -> tuple[str | None, str | None]:
    """Return the values as pydicom reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            items = dcmread(BytesIO(whole), force=True, stop_before_pixels=True).get("RequestAttributesSequence") or []
        except Exception:  # noqa: BLE001 (files that pydicom cannot read)
            items = []
    return joined(items, "ScheduledProcedureStepID"), joined(items, "RequestedProcedureID")


def joined(items: list[Dataset], keyword: str) -> str | None:
    texts = [str(one.get(keyword) or "") for one in items]
    return "\\".join(texts) if any(texts) else None
