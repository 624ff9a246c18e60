"""A storage SCP of pynetdicom's, as the peer that senders are tested against."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt

from tests.support.senders.files import data_hash
from tests.support.senders.sender import Peer


class Archive:
    """A storage SCP that answers with the status that `answer` returns, and keeps the hashes of what it accepted.

    `answer` gets the number of the request, from 1, and its event.
    """

    def __init__(self, answer: Callable[[int, evt.Event], int]) -> None:
        self.answer = answer
        self.times = 0
        self.kept: dict[str, str] = {}
        self._lock = threading.Lock()

    def store(self, event: evt.Event) -> int:
        with self._lock:
            self.times += 1
            times = self.times
        status = self.answer(times, event)
        if status == 0:
            syntax = str(event.context.transfer_syntax)
            self.kept[str(event.request.AffectedSOPInstanceUID)] = data_hash(syntax, event.request.DataSet.getvalue())
        return status

    @contextmanager
    def running(self, *supported: str) -> Iterator[Peer]:
        entity = AE(ae_title="FLUORO")
        for sop_class in supported or (CTImageStorage,):
            entity.add_supported_context(sop_class)
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)])
        try:
            yield Peer(server.socket.getsockname()[1], patience_s=20, answer_s=5)
        finally:
            server.shutdown()


def always(status: int) -> Callable[[int, evt.Event], int]:
    return lambda *_: status


def busy(times: int, _: evt.Event) -> int:
    """Answer every third request that the peer is out of resources."""
    return 0xA700 if times % 3 == 0 else 0


def abort_third(times: int, event: evt.Event) -> int:
    """Abort the association at the third request."""
    if times == 3:
        event.assoc.abort()
    return 0
