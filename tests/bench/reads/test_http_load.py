"""A load of requests counts every answer, and a steady rate counts from when a request was due."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.bench.reads.http_load import Target, WrongAnswer, at_a_rate, one_after_the_other

SLOW_S = 0.05


class Answering(BaseHTTPRequestHandler):
    """Answers 200 with ten bytes, /slow after a while, /absent with 404, /until-the-end without a length."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(SLOW_S)
        self.send_response(404 if self.path == "/absent" else 200)
        if self.path == "/until-the-end":
            self.close_connection = True
        else:
            self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_every_answer_and_byte_counts(origin: str) -> None:
    answers = one_after_the_other(Target(origin, ["/a", "/b"], "*/*"), 2, 0.1)

    assert len(answers.times_s) >= 2
    assert answers.size_bytes == 10 * len(answers.times_s)


@pytest.mark.parametrize("path", ["/a", "/until-the-end"])
def test_a_client_asks_again_whether_or_not_its_connection_was_kept(origin: str, path: str) -> None:
    answers = at_a_rate(Target(origin, [path], "*/*"), 100, 1, 0.03)

    assert (len(answers.times_s), answers.size_bytes) == (3, 30)


def test_each_client_asks_at_least_once(origin: str) -> None:
    assert len(one_after_the_other(Target(origin, ["/a"], "*/*"), 3, 1e-9).times_s) == 3


def test_a_request_that_waits_for_a_connection_is_late(origin: str) -> None:
    answers = at_a_rate(Target(origin, ["/slow"], "*/*"), 100, 1, 0.05)

    assert len(answers.times_s) == 5
    assert answers.times_s[-1] > 4 * SLOW_S


def test_an_answer_without_success_ends_the_load(origin: str) -> None:
    with pytest.raises(WrongAnswer, match="/absent: 404"):
        one_after_the_other(Target(origin, ["/absent"], "*/*"), 1, 1)
