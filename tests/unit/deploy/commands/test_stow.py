"""A file is sent to the STOW-RS door in one part, byte for byte, and a refusal is reported with its reason."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from deploy.commands.stow import StowReply, check_stored, store_file
from deploy.errors import Failed

FAILURE = b'{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[49153]}}]}}'

WORDS = FAILURE.replace(b"49153]}", b'49152]},"00000902":{"vr":"LO","Value":["quarantined: a sequence is malformed"]}')


@contextmanager
def web(status: int, body: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answer every POST with this response, and keep the bodies."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/dicomweb", bodies
        finally:
            server.shutdown()
            thread.join()


def test_a_file_is_sent_as_one_part() -> None:
    data_set = bytes(3_000_000)
    with web(200, b"{}") as (url, bodies):
        reply = store_file(url, b"prefix", memoryview(data_set))

    assert reply == StowReply(200, b"{}")
    head, _, rest = bodies[0].partition(b"\r\n\r\n")
    boundary = head.splitlines()[0]
    assert rest == b"prefix" + data_set + b"\r\n" + boundary + b"--\r\n"


def test_a_door_that_does_not_answer_is_named() -> None:
    with pytest.raises(Failed, match=r"http://127\.0\.0\.1:1/dicomweb does not answer"):
        store_file("http://127.0.0.1:1/dicomweb", b"", memoryview(b"x"))


@pytest.mark.parametrize("status", [200, 202])
def test_a_file_that_the_door_has_stored_is_no_problem(status: int) -> None:
    check_stored(StowReply(status, b'{"00081199":{"vr":"SQ","Value":[{}]}}'))


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (StowReply(409, FAILURE), r"409: C001 \(larger"),
        (StowReply(409, WORDS), r"409: C000 \(quarantined: a sequence"),
        (StowReply(503, b'{"reason":"memory"}'), "503: memory"),
        (StowReply(502, b"<html>"), "502: no reason given"),
        (StowReply(200, b"[]"), "200: no reason given"),
        (StowReply(200, b""), "200: no reason given"),
    ],
)
def test_a_file_that_the_door_has_not_stored_is_a_problem_with_its_reason(reply: StowReply, message: str) -> None:
    with pytest.raises(Failed, match=message):
        check_stored(reply)
