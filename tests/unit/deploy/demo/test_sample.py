"""The sample study is a CT series that a modality might have sent."""

import uuid
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import CTImageStorage

from deploy.demo.sample import write_ct

RUN, OTHER_RUN = (uuid.UUID(bytes=bytes([number] * 16)) for number in (7, 8))


def test_the_sample_is_a_ct_series_whose_identifiers_alone_differ_between_runs(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, run in ((one, RUN), (other, OTHER_RUN)):
        folder.mkdir()
        write_ct(folder, run, slices=2)
    first, second = dcmread(one / "0001.dcm"), dcmread(other / "0001.dcm")
    differing = {element.keyword for element in first if element != second[element.tag]}

    assert first.SOPClassUID == CTImageStorage
    assert first.pixel_array.shape == (512, 512)
    assert differing == {
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "AccessionNumber",
    }
