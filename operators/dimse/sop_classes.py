"""The SOP classes of verification and storage (PS3.4 A.4, B.5)."""

from pynetdicom.sop_class import _STORAGE_CLASSES

from schemas.objects import is_uid

VERIFICATION = "1.2.840.10008.1.1"
STANDARD_ROOT = "1.2.840.10008."
# Everything under this root is a storage class: retired classes too, which old modalities still send.
STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
STORAGE_CLASSES = frozenset(_STORAGE_CLASSES.values())


def is_verification(uid: str) -> bool:
    """True for the SOP class of C-ECHO."""
    return uid == VERIFICATION


def is_storage(uid: str) -> bool:
    """True for every storage class of the standard, and for every private class."""
    if uid.startswith(STANDARD_ROOT):
        return uid in STORAGE_CLASSES or uid.startswith(STORAGE_ROOT)
    return is_uid(uid)
