"""A modality that looks at nothing: a file's data set goes out as it lies there, under exactly what its meta says.

No library reads the data set, so that what comes back can only be what was sent.
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
    """A file's data set, and what a C-STORE says of it."""

    path: Path
    line: Line
    sop_class: str
    transfer_syntax: str
    data_set: bytes = field(repr=False)

    @property
    def sop_uid(self) -> str:
        """Return the SOP instance that the command names."""
        return self.line.sop_uid

    @property
    def parts(self) -> tuple[bytes]:
        """Return the data set's bytes."""
        return (self.data_set,)

    @property
    def kind(self) -> tuple[str, str]:
        """Return the presentation context that it needs."""
        return self.sop_class, self.transfer_syntax


def raw(path: Path, tenant: str, sop_uid: str = "") -> Raw | None:
    """Read a file to send, named as its file meta does or by `sop_uid`; None when nothing says what it would be."""
    data = path.read_bytes()
    try:
        meta = read_meta(data)
    except ValueError:
        return None
    line = replace(line_of(path, tenant), sop_uid=sop_uid or meta.sop_uid)
    return Raw(path, line, meta.sop_class, meta.transfer_syntax, data[meta.length :]) if meta.sop_class else None


def send_raw(raws: Iterable[Raw], peer: Peer, ledger: Ledger) -> dict[Path, str]:
    """Send over an association for each kind, a few at once; give each file's last status."""
    by_kind = sorted(raws, key=lambda one: one.kind)
    ledger.plan(one.line for one in by_kind)
    shares = [list(some) for _, some in groupby(by_kind, key=lambda one: one.kind)]
    with ThreadPoolExecutor(ASSOCIATIONS) as pool:
        answered = pool.map(partial(sent, peer=peer, ledger=ledger), shares)
        return {one.path: status for share in answered for one, status in share}


def sent(share: list[Raw], peer: Peer, ledger: Ledger) -> list[tuple[Raw, str]]:
    """Send data sets of one kind until each has its last answer or patience ends; what has none is lost."""
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
    """Send over one association until nothing waits or the peer asks to try again later."""
    with associated(peer, *waiting[0].kind) as association:
        while waiting:
            status = f"{association.store(waiting[0]):04X}"
            answer(waiting[0].line, meaning(status), status)
            if status.startswith("A7"):
                return
            yield waiting.popleft(), status


def refused(waiting: "deque[Raw]", ledger: Ledger) -> list[tuple[Raw, str]]:
    """Note that no context was accepted: nothing of it went out."""
    share = list(waiting)
    waiting.clear()
    ledger.answers([one.line for one in share], "failed", REFUSED)
    return [(one, REFUSED) for one in share]
