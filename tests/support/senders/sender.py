"""A modality that sends files by C-STORE, retries until each is stored, and keeps a ledger.

    python -m tests.support.senders.sender --port 11112 --ledger sent.jsonl FOLDER...

The upper layer is pynetdicom's, which shares no line with the archive's. The data set is sent byte for byte as it is in
the file, so that its hash is known. Exit status 0 when everything was acknowledged.
"""

import argparse
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from tests.audit.ledger import Ledger, State
from tests.support.senders.files import Sendable, dicom_files, sendable

# Without this setting pynetdicom encodes data sets anew.
_config.STORE_SEND_CHUNKED_DATASET = True


def close(connection: AssociationSocket) -> None:
    """Shut down a connection, if there is one, and close its socket."""
    if connection.socket is not None:
        with suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
        connection.socket.close()


# pynetdicom leaves a socket open that cannot be shut down, of a refused or a reset connection. It is closed when it is
# collected, and a warning of that after the last test fails a run of which every test has passed.
AssociationSocket._shutdown_socket = close

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0
CONTEXTS = 128


@dataclass(frozen=True)
class Peer:
    """The address of an archive's DIMSE door; `answer_s` for one answer, `patience_s` for trying at all.

    `rest_s` is how long an association rests after each answer, as a scanner does that has no next image yet.
    """

    port: int
    host: str = "127.0.0.1"
    ae_title: str = "FLUORO"
    tenant: str = "local"
    answer_s: float = 20.0
    patience_s: float = 180.0
    rest_s: float = 0.0


@dataclass
class Tally:
    """The result of a sending: instances by their last state, answers by status."""

    states: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    associations: int = 0
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answered(self, status: str) -> None:
        """Count an answer."""
        with self._lock:
            self.statuses[status] += 1

    def ended(self, state: State) -> None:
        """Count an instance that will not be sent again."""
        with self._lock:
            self.states[state] += 1

    def __str__(self) -> str:
        said = f"{dict(self.states)} in {self.seconds:.1f} s over {self.associations} associations"
        return f"{said}, answers {dict(self.statuses)}"

    @property
    def complete(self) -> bool:
        """True if everything was acknowledged."""
        return set(self.states) <= {"acked"}


class Queue:
    """The instances that wait to be sent, shared by the associations."""

    def __init__(self, sendables: Iterable[Sendable]) -> None:
        self._waiting = deque(sendables)
        self._open = len(self._waiting)
        self._lock = threading.Lock()

    def take(self) -> Sendable | None:
        """Return the next instance; None when none waits right now."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def put_back(self, sendable: Sendable) -> None:
        """Put an instance back at the front, to be sent again."""
        with self._lock:
            self._waiting.appendleft(sendable)

    def close(self) -> None:
        """Count an instance as done."""
        with self._lock:
            self._open -= 1

    @property
    def waiting(self) -> bool:
        """True if an instance waits to be taken."""
        return bool(self._waiting)

    @property
    def done(self) -> bool:
        """True if every instance has its last answer."""
        return self._open == 0


def send(paths: Iterable[Path], peer: Peer, ledger: Ledger, associations: int = 4) -> Tally:
    """Send files over parallel associations until each has its last answer or patience ends."""
    sendables = [sendable(path, peer.tenant) for path in paths]
    ledger.plan(one.line for one in sendables)
    tally, queue = Tally(), Queue(sendables)
    began = time.monotonic()
    senders = [Sender(peer, ledger, queue, tally, contexts(sendables), began) for _ in range(associations)]
    threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.seconds = time.monotonic() - began
    tally.states["unknown"] += len(sendables) - sum(tally.states.values())
    tally.states += Counter()
    return tally


def contexts(sendables: list[Sendable]) -> list[tuple[str, str]]:
    """Return every presentation context that the files need, at most 128 (PS3.8 9.3.2.2)."""
    needed = sorted({(one.sop_class, one.line.transfer_syntax) for one in sendables})
    if len(needed) > CONTEXTS:
        raise ValueError(f"{len(needed)} presentation contexts do not fit one association: send fewer kinds at once")
    return needed


@dataclass
class Sender:
    """A thread that opens one association after the other until the queue is done."""

    peer: Peer
    ledger: Ledger
    queue: Queue
    tally: Tally
    contexts: list[tuple[str, str]]
    began: float
    wait_s: float = FIRST_WAIT_S

    def run(self) -> None:
        """Send until every instance has its last answer or patience ends."""
        while not self.queue.done and not self.has_given_up:
            if self.queue.waiting:
                self.transfer()
            if not self.queue.done:
                self.back_off()

    def transfer(self) -> None:
        """Open an association, send the instances that wait, and release it."""
        association = self.associate()
        if association.is_established:
            self.tally.associations += 1
            self.serve(association)
        if association.is_established:
            association.release()

    @property
    def has_given_up(self) -> bool:
        return time.monotonic() - self.began > self.peer.patience_s

    def associate(self) -> Association:
        entity = AE(ae_title="TESTSENDER")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.peer.answer_s
        entity.connection_timeout = 2
        asked = [build_context(sop_class, syntax) for sop_class, syntax in self.contexts]
        return entity.associate(self.peer.host, self.peer.port, contexts=asked, ae_title=self.peer.ae_title)

    def serve(self, association: Association) -> None:
        """Send over one association until it is lost or no instance waits."""
        while association.is_established and not self.has_given_up and (one := self.queue.take()):
            if not self.settle(one, store(association, one)):
                self.queue.put_back(one)
                return
            time.sleep(self.peer.rest_s)

    def settle(self, one: Sendable, status: str) -> bool:
        """Record the answer for an instance; True if it is the last one."""
        state = meaning(status)
        self.ledger.answer(one.line, state, status)
        self.tally.answered(status)
        if state == "unknown" or status.startswith("A7"):
            return False
        self.wait_s = FIRST_WAIT_S
        self.tally.ended(state)
        self.queue.close()
        return True

    def back_off(self) -> None:
        time.sleep(self.wait_s)
        self.wait_s = min(2 * self.wait_s, LONGEST_WAIT_S)


def store(association: Association, one: Sendable) -> str:
    """Send one instance; return the status in hex, `lost` without an answer, `refused` without a context."""
    try:
        answer = association.send_c_store(one.path)
    except RuntimeError:
        return "lost"
    except ValueError:
        return "refused"
    return f"{answer.Status:04X}" if "Status" in answer else "lost"


def meaning(status: str) -> State:
    """Return the state of an instance after a C-STORE status (PS3.4 B.2.3)."""
    if status == "lost":
        return "unknown"
    return "acked" if status == "0000" or status.startswith("B") else "failed"


def main() -> None:
    """Send from the command line."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("paths", type=Path, nargs="+", help="DICOM files, or folders of them")
    wanted.add_argument("--ledger", type=Path, required=True, help="file that lines are added to")
    wanted.add_argument("--associations", type=int, default=4, help="in parallel (default 4)")
    wanted.add_argument("--port", type=int, default=11112)
    wanted.add_argument("--host", default="127.0.0.1")
    wanted.add_argument("--ae-title", default="FLUORO")
    wanted.add_argument("--patience", type=float, default=180.0, help="seconds after which to give up (default 180)")
    given = wanted.parse_args()
    peer = Peer(given.port, given.host, given.ae_title, patience_s=given.patience)
    with Ledger(given.ledger) as ledger:
        tally = send(dicom_files(given.paths), peer, ledger, given.associations)
    sys.stdout.write(f"{tally}\n")
    sys.exit(0 if tally.complete else 1)


if __name__ == "__main__":
    main()
