"""What is made before a stack is used, and what is said when a store cannot do all of it."""

import asyncio
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from deploy import prepare


@contextmanager
def a_store(lifecycle: int) -> Iterator[tuple[str, list[bytes]]]:
    """Have a store that takes every bucket, and answers lifecycle rules so; gives the rules that came."""
    rules: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            is_rule = self.path.endswith("?lifecycle=")
            rules.extend([body] if is_rule else [])
            self.send_response(lifecycle if is_rule else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", rules
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("lifecycle", "is_loud"), [(200, False), (501, True)])
def test_a_store_that_cannot_empty_the_quarantine_is_said_loudly_and_used(
    lifecycle: int,
    is_loud: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FLUORO_QUARANTINE_DAYS", "7")
    with a_store(lifecycle) as (endpoint, rules):
        monkeypatch.setenv("FLUORO_STORE_ENDPOINT", endpoint)
        asyncio.run(prepare.buckets())

    (rule,) = rules
    assert b"<Days>7</Days>" in rule
    assert ("WARNING" in capsys.readouterr().err) == is_loud


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["tables"], 2)])
def test_what_can_be_made_is_told(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        prepare.main(arguments)

    said = "".join(capsys.readouterr())
    assert caught.value.code == code
    assert "usage: python -m deploy.prepare" in said
    assert "{topics,buckets,catalog}" in said


def test_settings_that_cannot_be_are_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLUORO_CATALOG_PORT", "0x10")

    assert prepare.main(["catalog"]) == 2
    assert capsys.readouterr().err == "FLUORO_CATALOG_PORT: should be a whole number\n"
