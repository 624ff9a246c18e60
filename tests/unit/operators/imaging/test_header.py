"""An image whose header contradicts itself is refused before anything is decoded."""

from dataclasses import replace
from typing import Any

import pytest

from operators.errors import Rejected
from tests.support.data.render_jobs import job_of, picture_of
from tests.support.worlds.reading import part10


@pytest.mark.parametrize(
    "elements",
    [{"Rows": 0}, {"BitsAllocated": 12}, {"BitsStored": 17}, {"SamplesPerPixel": 4}, {"HighBit": 3}, {"Columns": None}],
)
def test_a_description_of_pixels_that_contradicts_itself_is_refused(elements: dict[str, Any]) -> None:
    job = job_of(part10())
    assert job
    whole = part10(**elements)
    header = whole[: len(whole) - 12]

    with pytest.raises(Rejected, match="bad-image-description"):
        picture_of(replace(job, header=header))
