"""Generated studies are reproducible, readable, and as large and rich as a scanner's."""

import hashlib
from pathlib import Path

from pydicom import dcmread

from tests.support.data.generate import Volume, files, instances

SMALL = Volume(studies=2, slices=4, series=2, size=16)


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert list(instances(SMALL)) == list(instances(SMALL))


def test_another_seed_shares_no_uid() -> None:
    first, second = ({one.sop_uid for one in instances(Volume(size=16, slices=4, seed=seed))} for seed in (1, 2))

    assert not first & second


def test_a_slice_is_as_large_and_as_rich_as_a_scanners() -> None:
    made = next(instances(Volume(slices=1)))

    assert 525_000 < len(made.meta) + len(made.header) + len(made.pixels) < 535_000


def test_pydicom_reads_what_was_made(tmp_path: Path) -> None:
    paths = files(SMALL, tmp_path)

    read = [dcmread(path) for path in paths]

    assert [one.SOPInstanceUID for one in read] == [one.sop_uid for one in instances(SMALL)]
    assert len({one.StudyInstanceUID for one in read}) == 2
    assert len({one.SeriesInstanceUID for one in read}) == 4
    assert 190 < len(list(read[0].iterall())) < 230
    assert len({hashlib.sha256(one.PixelData).hexdigest() for one in read}) == 8
    assert read[0].pixel_array.shape == (16, 16)


def test_every_study_has_a_token_of_its_own_where_a_patient_is_named() -> None:
    made = list(instances(SMALL))

    assert len({one.canary for one in made}) == 2
    assert all(one.header.count(one.canary.encode()) >= 8 for one in made)
