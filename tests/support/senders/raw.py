"""A C-STORE sender that does not parse data sets: each goes out byte for byte, under the UIDs of its file meta.

No library reads the data set, so that any difference in what comes back is the archive's.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path

from tests.audit.ledger import Ledger, Line, State
from tests.audit.part10 import read_meta
from tests.support.senders.files import line_of
from tests.support.senders.scu import NoContext, associated
from tests.support.senders.sender import Peer, meaning

AGAIN_S = 0.5
ASSOCIATIONS = 4
REFUSED, UNSENDABLE = "refused", "unsendable"


@dataclass(frozen=True)
class Raw:
    """A file's data set, and the UIDs of its C-STORE."""

    path: Path
    line: Line
    sop_class: str
    transfer_syntax: str
    data_set: bytes = field(repr=False)

    @property
    def sop_uid(self) -> str:
        """Return the SOP Instance UID of the command."""
        return self.line.sop_uid

    @property
    def parts(self) -> tuple[bytes]:
        """Return the data set's bytes."""
        return (self.data_set,)

    @property
    def kind(self) -> tuple[str, str]:
        """Return the presentation context that the data set needs: SOP class and transfer syntax."""
        return self.sop_class, self.transfer_syntax


def raw(path: Path, tenant: str, sop_uid: str = "") -> Raw | None:
    """Return a file to send, under the SOP Instance UID of its file meta or `sop_uid`; None without usable file meta."""
    data = path.read_bytes()
    try:
        meta = read_meta(data)
    except ValueError:
        return None
    line = replace(line_of(path, tenant), sop_uid=sop_uid or meta.sop_uid)
    return Raw(path, line, meta.sop_class, meta.transfer_syntax, data[meta.length :]) if meta.sop_class else None


def send_raw(raws: Iterable[Raw], peer: Peer, ledger: Ledger) -> dict[Path, str]:
    """Send files over an association for each kind, a few at once; return each file's last status."""
    by_kind = sorted(raws, key=lambda one: one.kind)
    ledger.plan(one.line for one in by_kind)
    shares = [list(some) for _, some in groupby(by_kind, key=lambda one: one.kind)]
    with ThreadPoolExecutor(ASSOCIATIONS) as pool:
        answered = pool.map(partial(sent, peer=peer, ledger=ledger), shares)
        return {one.path: status for share in answered for one, status in share}


def sent(share: list[Raw], peer: Peer, ledger: Ledger) -> list[tuple[Raw, str]]:
    """Send data sets of one kind until each has its last answer or patience ends; those without answer are lost."""
    waiting, until = deque(share), time.monotonic() + peer.patience_s
    answers: list[tuple[Raw, str]] = []
    while waiting and time.monotonic() < until:
        try:
            answers += one_association(waiting, peer, ledger.answer)
        except NoContext:
            answers += refused(waiting, ledger)
        except OSError:
            ledger.answer(waiting[0].line, "unknown", "lost")
        if waiting:
            time.sleep(AGAIN_S)
    return answers + [(one, "lost") for one in waiting]


def one_association(
    waiting: "deque[Raw]", peer: Peer, answer: Callable[[Line, State, str], None]
) -> Iterator[tuple[Raw, str]]:
    """Send over one association until nothing is left or the peer answers that it is busy; yield the last answers."""
    with associated(peer, *waiting[0].kind) as association:
        while waiting:
            status = f"{association.store(waiting[0]):04X}"
            answer(waiting[0].line, meaning(status), status)
            if status.startswith("A7"):
                return
            yield waiting.popleft(), status


def refused(waiting: "deque[Raw]", ledger: Ledger) -> list[tuple[Raw, str]]:
    """Record that the presentation context was not accepted, so that none of these files was sent."""
    share = list(waiting)
    waiting.clear()
    ledger.answers([one.line for one in share], "failed", REFUSED)
    return [(one, REFUSED) for one in share]
