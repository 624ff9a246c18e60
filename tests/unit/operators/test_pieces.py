"""Long work is done in pieces and gives the same result as without a pause; short work is a single piece."""

import pytest

from operators.dicom.instance import examine, examining
from operators.errors import Rejected
from operators.pieces import PIECE_LENGTH, PIECE_STEPS, Pieces, finished, in_pieces
from tests.support.data.elements import CODE, ITEM_END, OPEN, SEQUENCE_END, element, item

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
UIDS = (
    element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0")
    + element(0x00080018, "UI", b"1.2.3.4.5\0")
    + element(0x0020000D, "UI", b"1.2.3\0")
    + element(0x0020000E, "UI", b"1.2.3.4\0")
)
ITEMS = element(0x0040A730, "SQ", (item(length=OPEN) + CODE + ITEM_END) * 10_000 + SEQUENCE_END, OPEN)
# Longer than 50,000 smallest elements, so that it is walked through, however small its sequences are.
ELEMENTS = element(0x00290001, "CS", b"") * 110_000
FRAMES = element(0x00280008, "IS", b"9999")
FRAGMENTS = element(0x7FE00010, "OB", item() + item(b"ab\xff\xd9") * 9_999 + SEQUENCE_END, OPEN)
TEXT = element(0x00081030, "LO", b"x" * 2_000)

# By name: a data set, its transfer syntax, and the least pieces in which it is examined.
CASES = {
    "items": (UIDS + ITEMS, EXPLICIT, 30_000 // PIECE_STEPS),
    "elements": (UIDS + ELEMENTS, EXPLICIT, 110_000 // PIECE_LENGTH),
    "fragments": (UIDS + FRAMES + FRAGMENTS, JPEG, 10_000 // PIECE_LENGTH),
    "a long text": (UIDS + TEXT, EXPLICIT, 2),
    "an ordinary data set": (UIDS + FRAMES, EXPLICIT, 1),
}


def pieces_of(work: Pieces[object]) -> int:
    """Return how many pieces a work has."""
    return sum(1 for _ in work) + 1


@pytest.mark.parametrize("case", CASES)
def test_long_work_has_many_pieces_and_short_work_one(case: str) -> None:
    data, transfer_syntax, least = CASES[case]
    found = pieces_of(examining(data, transfer_syntax, 300))

    assert found >= least
    assert (found == 1) == (least == 1)
    assert finished(examining(data, transfer_syntax, 300)) == examine(data, transfer_syntax, 300)


def test_work_that_is_rejected_in_a_later_piece_is_rejected() -> None:
    cut = UIDS + ITEMS[:-20]

    with pytest.raises(Rejected, match="truncated-header"):
        finished(examining(cut, EXPLICIT, 300))


@pytest.mark.parametrize("length", [0, 1, PIECE_LENGTH, PIECE_LENGTH + 1])
def test_the_pieces_of_a_list_are_the_list(length: int) -> None:
    pieces = list(in_pieces(range(length)))

    assert [number for piece in pieces for number in piece] == list(range(length))
    assert all(0 < len(piece) <= PIECE_LENGTH for piece in pieces)
