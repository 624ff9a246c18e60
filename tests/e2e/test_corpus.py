"""Real files of many makers: each gets one final answer, and whatever is acknowledged is kept as it came."""

from collections import Counter
from pathlib import Path

import pytest
from pydicom.errors import InvalidDicomError

from tests.e2e.conftest import Proof
from tests.e2e.sender import CONTEXTS, sendable

# What no sender can send: no file meta, no UIDs, nested beyond what pydicom follows.
UNSENDABLE = (InvalidDicomError, AttributeError, RecursionError)


def kind(path: Path) -> tuple[str, str] | None:
    """Give the presentation context that a file needs; None for one that cannot be sent."""
    try:
        one = sendable(path, "local")
    except UNSENDABLE:
        return None
    return one.sop_class, one.line.transfer_syntax


@pytest.mark.filterwarnings("ignore")
def test_every_real_file_that_is_acknowledged_is_kept_as_it_came(proof: Proof, corpus: Path) -> None:
    kinds = {path: kind(path) for path in sorted(corpus.rglob("*")) if path.is_file()}
    answered: Counter[str] = Counter()
    wanted = sorted({one for one in kinds.values() if one})
    for at in range(0, len(wanted), CONTEXTS):
        some = wanted[at : at + CONTEXTS]
        answered += proof.send([path for path, one in kinds.items() if one in some]).states

    assert set(answered) == {"acked", "failed"}
    assert answered["acked"] > 500
    assert proof.wrong() == {}
