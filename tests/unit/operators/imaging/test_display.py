"""The header of an image decides how each of its frames is displayed."""

from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from tests.support.data.render_jobs import job_of, picture_of
from tests.support.worlds.reading import part10


def shown(number: int = 1, **elements: Any) -> list[int]:
    """Return the tones of a frame of six samples from 0 to 5, in a file with these elements added."""
    job = job_of(part10(**elements), number)
    assert job
    return [int(tone) for tone in picture_of(job).reshape(-1)]


def item(**elements: Any) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def lut(*entries: int, bits: int = 8) -> list[Dataset]:
    found = item(LUTDescriptor=[len(entries), 0, bits])
    found.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return [found]


FULL = [0, 51, 102, 153, 204, 255]
VOI = [item(WindowCenter="3", WindowWidth="6")]


@pytest.mark.parametrize(
    ("elements", "wanted"),
    [
        ({}, FULL),
        ({"PhotometricInterpretation": "MONOCHROME1"}, FULL[::-1]),
        ({"PresentationLUTShape": "INVERSE"}, FULL[::-1]),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, FULL[::-1]),
        ({"WindowCenter": "3", "WindowWidth": "6"}, FULL),
        ({"WindowCenter": ["3", "9"], "WindowWidth": ["2", "9"]}, [0, 0, 0, 255, 255, 255]),
        ({"WindowCenter": "3", "WindowWidth": "0"}, FULL),
        ({"WindowCenter": "3", "WindowWidth": "6", "VOILUTFunction": "LINEAR_EXACT"}, [0, 43, 85, 128, 170, 213]),
        (
            {"RescaleSlope": "10", "RescaleIntercept": "-10", "WindowCenter": "20", "WindowWidth": "2"},
            [0] * 3 + [255] * 3,
        ),
        ({"RescaleSlope": "-1", "RescaleIntercept": "0"}, FULL[::-1]),
        ({"PixelPaddingValue": 5}, [0, 64, 128, 191, 255, 0]),
        ({"PixelPaddingValue": 5, "PixelPaddingRangeLimit": 4}, [0, 85, 170, 255, 0, 0]),
        ({"VOILUTSequence": lut(255, 200, 150, 100, 50, 0)}, [255, 200, 150, 100, 50, 0]),
        ({"ModalityLUTSequence": lut(5, 4, 3, 2, 1, 0)}, FULL[::-1]),
        (
            {"ModalityLUTSequence": lut(5, 4, 3, 2, 1, 0), "SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.1"},
            FULL,
        ),
        ({"SharedFunctionalGroupsSequence": [item(FrameVOILUTSequence=VOI)], "WindowCenter": "9"}, FULL),
    ],
)
def test_the_header_decides_how_samples_are_displayed(elements: dict[str, Any], wanted: list[int]) -> None:
    assert shown(**elements) == pytest.approx(wanted, abs=1)


def test_the_functional_groups_of_a_frame_decide_how_it_is_displayed() -> None:
    group = item(PixelValueTransformationSequence=[item(RescaleSlope="-1", RescaleIntercept="0")])
    elements = {"NumberOfFrames": 2, "PerFrameFunctionalGroupsSequence": [item(), group]}

    assert shown(1, **elements) == pytest.approx(FULL, abs=1)
    assert shown(2, **elements) == pytest.approx(FULL[::-1], abs=1)
