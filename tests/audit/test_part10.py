"""The auditor's reader of Part 10 files agrees with the archive's."""

from pathlib import Path

import pytest

from operators.dicom.part10 import split_part10
from operators.errors import Rejected
from tests.audit.part10 import Meta, read_meta
from tests.support.data.generate import Volume, instances
from tests.support.data.outcomes import corpus_files

MADE = next(instances(Volume(slices=1, size=16)))
PART10 = MADE.meta + MADE.header + MADE.pixels


def test_file_meta_ends_where_the_data_set_begins() -> None:
    assert read_meta(PART10) == Meta(len(MADE.meta), "1.2.840.10008.1.2.1", MADE.sop_class, MADE.sop_uid)


@pytest.mark.parametrize("data", [b"", b"\0" * 500, PART10[1:], PART10[:150]])
def test_bytes_that_are_no_part_10_file_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no preamble|no transfer syntax"):
        read_meta(data)


def test_the_auditors_reader_and_the_archives_agree_on_every_file(corpus: Path) -> None:
    for name, path in corpus_files(corpus).items():
        data = path.read_bytes()
        try:
            theirs = Meta(*split_part10(data))
        except Rejected:
            with pytest.raises(ValueError, match=r"no preamble|no transfer syntax|cut short"):
                read_meta(data)
        else:
            assert read_meta(data) == theirs, name
