"""What the parent of a gateway's processes does when the system refuses it something."""

import errno
import os
import signal
from collections.abc import Iterator
from multiprocessing.context import ForkProcess

import pytest

from gateway import children
from gateway.children import STOP_SIGNALS, Children


@pytest.fixture
def own_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_a_parent_that_cannot_fork_waits_between_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    looks: list[int] = []

    def refused(_: ForkProcess) -> None:
        tries.append(1)
        if len(tries) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        raise OSError(errno.EAGAIN, "no room")

    monkeypatch.setattr(ForkProcess, "start", refused)
    monkeypatch.setattr(children, "NO_ROOM_S", 0.2)
    gateway = Children(1, lambda _post, _ready: None, lambda _: None)
    real = gateway._look

    def look() -> None:
        looks.append(1)
        real()

    monkeypatch.setattr(gateway, "_look", look)

    assert gateway.run(lambda: None)

    # A turn may end a little before a process is due.
    assert len(looks) < 10
