"""Each fault of the proxy, with real sockets on both sides."""

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from tests.support.faults.proxy import APPLIES_THEN_CUTS, REFUSES, RESETS, SILENT, WORKS, Fault, FaultProxy, proxied

WAIT_S = 10.0
SHORT_S = 0.2


@dataclass
class Server:
    """A server that says everything again, and what it has received."""

    listening: socket.socket
    received: "queue.Queue[bytes]" = field(default_factory=queue.Queue)

    def run(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self.listening.accept()
                threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer: socket.socket) -> None:
        with suppress(OSError), peer:
            while piece := peer.recv(1 << 16):
                self.received.put(piece)
                peer.sendall(piece)


@contextmanager
def connected(proxy: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S) as client:
        yield client


@pytest.fixture
def server() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        started = Server(listening)
        thread = threading.Thread(target=started.run)
        thread.start()
        yield started
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    with proxied(server.listening.getsockname()[1]) as started:
        yield started


def asked(client: socket.socket, line: bytes = b"a line\n") -> bytes:
    """Send a line and return its answer; what came of it, if the connection ends."""
    client.sendall(line)
    return answered(client, len(line))


def answered(client: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (piece := client.recv(count)):
        found += piece
    return found


def test_a_proxy_that_works_passes_on_everything_and_both_ends(proxy: FaultProxy) -> None:
    long = bytes(1_000_000) + b"\n"
    with connected(proxy) as client:
        sending = threading.Thread(target=client.sendall, args=(long,))
        sending.start()
        assert answered(client, len(long)) == long
        sending.join()
        client.shutdown(socket.SHUT_WR)

        assert client.recv(1) == b""


def test_refused_clients_do_not_connect_and_connect_again_afterwards(proxy: FaultProxy) -> None:
    with connected(proxy) as client:
        assert asked(client) == b"a line\n"
        proxy.fault = REFUSES
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError), connected(proxy):
        pass
    proxy.fault = WORKS
    with connected(proxy) as client:
        assert asked(client) == b"a line\n"


def test_new_and_open_connections_are_reset(proxy: FaultProxy) -> None:
    with connected(proxy) as before:
        assert asked(before) == b"a line\n"
        proxy.fault = RESETS
        with pytest.raises(ConnectionResetError):
            before.recv(1)
    with pytest.raises(ConnectionResetError), connected(proxy) as client:
        client.recv(1)


def test_a_black_hole_takes_everything_and_gives_it_back_afterwards(proxy: FaultProxy, server: Server) -> None:
    with connected(proxy) as open_before:
        assert asked(open_before) == b"a line\n"
        server.received.get(timeout=WAIT_S)
        proxy.fault = SILENT
        with connected(proxy) as opened_meanwhile:
            for client in (open_before, opened_meanwhile):
                client.settimeout(SHORT_S)
                with pytest.raises(TimeoutError):
                    asked(client, b"lost?\n")
                client.settimeout(WAIT_S)
            assert server.received.empty()
            proxy.fault = WORKS

            assert [answered(client, 6) for client in (open_before, opened_meanwhile)] == [b"lost?\n", b"lost?\n"]


def test_a_delayed_answer_begins_late_once_and_at_once_when_the_fault_ends(proxy: FaultProxy) -> None:
    proxy.fault = Fault(delay_s=SHORT_S)
    with connected(proxy) as client:
        took_s = time_of(lambda: asked(client))
        proxy.fault = Fault(delay_s=3600)
        client.sendall(b"another\n")
        proxy.fault = WORKS

        assert answered(client, 8) == b"another\n"
    assert SHORT_S <= took_s < WAIT_S


def test_bytes_are_throttled_in_both_directions(proxy: FaultProxy) -> None:
    proxy.fault = Fault(bytes_per_s=1000)
    with connected(proxy) as client:
        took_s = time_of(lambda: asked(client, 99 * b"x" + b"\n"))

    assert 0.2 <= took_s < WAIT_S


@pytest.mark.parametrize(
    ("fault", "received", "answer"),
    [
        (APPLIES_THEN_CUTS, b"a line\n", b""),
        (Fault(answer_bytes=3), b"a line\n", b"a l"),
        # What the server answers to the beginning of a request may come before the client's end.
        (Fault(request_bytes=3, answer_bytes=0), b"a l", b""),
    ],
)
def test_a_connection_is_cut_after_so_many_bytes(
    proxy: FaultProxy, server: Server, fault: Fault, received: bytes, answer: bytes
) -> None:
    with connected(proxy) as client:
        assert asked(client) == b"a line\n"
        server.received.get(timeout=WAIT_S)
        proxy.fault = fault
        client.sendall(b"a line\n")

        assert [client.recv(1) for _ in answer] == [answer[at : at + 1] for at in range(len(answer))]
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert server.received.get(timeout=WAIT_S) == received


def time_of(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
