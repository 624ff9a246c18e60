"""The studies that are searched for are the same in every archive."""

from io import BytesIO

from pydicom import dcmread

from tests.bench.fill_catalog import events
from tests.bench.reads.fill_orthanc import file


def test_the_same_number_of_studies_is_the_same_studies() -> None:
    first, second = list(events(5)), list(events(10))

    assert [event.facts for event in first] == [event.facts for event in second[:5]]
    assert len({event.study_uid for event in second}) == 10


def test_a_file_for_orthanc_is_found_by_what_finds_its_row() -> None:
    (event,) = events(1)

    stored = dcmread(BytesIO(file(event)))

    assert (stored.StudyInstanceUID, stored.SOPInstanceUID) == (event.study_uid, event.sop_uid)
    assert (str(stored.PatientName), stored.AccessionNumber) == (event.facts.patient_name, event.facts.accession_number)
    assert stored.StudyDate == event.facts.study_date
