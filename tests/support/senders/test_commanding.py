"""The client of commands sends a command with one id until it is answered."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.senders import commanding
from tests.support.senders.commanding import give


@contextmanager
def door(*answers: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve these statuses, one for each request (0: the connection is closed); yield the origin and the bodies."""
    bodies, left = list[dict[str, Any]](), list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            if status := left.pop(0):
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", bodies
        finally:
            server.shutdown()
            thread.join()


def test_a_command_without_an_answer_is_sent_again_with_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commanding, "AGAIN_S", 0.0)
    with door(503, 0, 201) as (origin, bodies):
        given = give(origin, "1.2", "expect", count=3)

    assert given.statuses == (503, 0, 201)
    assert bodies == [{"id": given.command_id, "action": "expect", "why": "a test of kills", "count": 3}] * 3


def test_a_command_that_is_refused_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commanding, "AGAIN_S", 0.0)
    with door(404) as (origin, _), pytest.raises(AssertionError, match="404"):
        give(origin, "1.2", "settle")
