"""Loads are new studies in each round, of the sizes that their names say."""

from pathlib import Path

import pytest
from pydicom import dcmread

from tests.bench.ingest import loads
from tests.bench.ingest.loads import Maker
from tests.support.senders.files import sendable


@pytest.mark.parametrize(
    ("make", "size_bytes"),
    [(loads.ct, 531_000), (loads.small, 2_900), (loads.large, 29_900_000)],
    ids=["CT", "small", "large"],
)
def test_a_load_is_valid_files_of_its_size(make: Maker, size_bytes: int, tmp_path: Path) -> None:
    (share,) = make(1, 1, 1, tmp_path).shares

    (sample,) = share
    assert sample.size_bytes == pytest.approx(size_bytes, rel=0.02)
    assert sendable(sample.path, "local").line.data_hash == sample.line.data_hash
    assert sample.size_bytes - len(dcmread(sample.path).PixelData) < 7_000


@pytest.mark.parametrize("make", [loads.ct, loads.small, loads.large])
def test_each_sender_has_studies_of_its_own(make: Maker, tmp_path: Path) -> None:
    load = make(2, 1, 1, tmp_path)

    first, second = ({sample.line.study_uid for sample in share} for share in load.shares)
    assert not first & second
    assert set(load.studies().values()) == {1}


def test_another_seed_makes_other_studies(tmp_path: Path) -> None:
    first, second = (loads.small(2, 2, seed, tmp_path / str(seed)) for seed in (1, 2))

    assert not first.studies().keys() & second.studies().keys()
