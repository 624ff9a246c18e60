"""Storage classes are those of the standard, even if retired, and every private UID, and nothing else."""

import pytest

from operators.dimse.sop_classes import is_storage, is_verification

CLASSES = [
    ("1.2.840.10008.5.1.4.1.1.2", True),  # CT
    ("1.2.840.10008.5.1.4.1.1.6", True),  # ultrasound, retired
    ("1.3.12.2.1107.5.9.1", True),  # private
    ("1.2.840.10008.1.1", False),  # verification
    ("1.2.840.10008.5.1.4.1.2.2.1", False),  # study root query
    ("storage", False),
    ("", False),
]


@pytest.mark.parametrize(("uid", "is_stored"), CLASSES)
def test_only_storage_classes_and_private_uids_are_stored(uid: str, *, is_stored: bool) -> None:
    assert is_storage(uid) == is_stored


def test_only_the_verification_class_is_verification() -> None:
    assert [uid for uid, _ in CLASSES if is_verification(uid)] == ["1.2.840.10008.1.1"]
