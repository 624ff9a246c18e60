"""Where the file meta of a Part 10 file ends, while the file still comes (PS3.10 7.1)."""

from operators.dicom.instance import MAX_META_BYTES, META_START, Part10, split_part10
from operators.dicom.scan import Buffer, Reason
from operators.errors import Rejected

# A file of which so much came without an end of its file meta has none that we take.
MOST_BYTES = META_START + MAX_META_BYTES + 64 * 1024


def begin_part10(beginning: Buffer, *, is_whole: bool) -> Part10 | None:
    """Read the file meta at a file's beginning; None when it goes on behind what is here.

    What is given is what split_part10 says of the whole file, but where the file meta is longer than 1 MiB.
    Raises Rejected(NOT_PART10, TRUNCATED_META or NO_TRANSFER_SYNTAX).
    """
    if len(beginning) < META_START and not is_whole:
        return None
    is_final = is_whole or len(beginning) >= MOST_BYTES
    try:
        found = split_part10(beginning)
    except Rejected as error:
        # More bytes give the file meta its end, or the transfer syntax; they never give it the magic word.
        if is_final or error.reason == Reason.NOT_PART10.value:
            raise
        return None
    return found if is_final or found.prefix_length < len(beginning) else None
