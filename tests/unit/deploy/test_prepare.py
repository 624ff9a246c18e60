"""Servers are prepared before first use; a store that cannot delete old objects itself is used, with a warning."""

import asyncio
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from deploy import prepare


@contextmanager
def store_answering(lifecycle: int) -> Iterator[tuple[str, list[bytes]]]:
    """Serve a store that accepts every bucket and answers lifecycle rules with this status; yield the rules received."""
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


@pytest.mark.parametrize(("lifecycle", "is_warned"), [(200, False), (501, True)])
def test_a_store_without_lifecycle_rules_is_used_with_a_warning(
    lifecycle: int,
    is_warned: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FLUORO_QUARANTINE_DAYS", "7")
    with store_answering(lifecycle) as (endpoint, rules):
        monkeypatch.setenv("FLUORO_STORE_ENDPOINT", endpoint)
        asyncio.run(prepare.buckets())

    (rule,) = rules
    assert b"<Days>7</Days>" in rule
    assert ("WARNING" in capsys.readouterr().err) == is_warned


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["tables"], 2)])
def test_help_and_usage_errors_name_every_preparation(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        prepare.main(arguments)

    printed = "".join(capsys.readouterr())
    assert caught.value.code == code
    assert "usage: python -m deploy.prepare" in printed
    assert "{topics,buckets,catalog}" in printed


def test_a_setting_that_cannot_be_used_is_a_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLUORO_CATALOG_PORT", "0x10")

    assert prepare.main(["catalog"]) == 2
    assert capsys.readouterr().err == "FLUORO_CATALOG_PORT: should be a whole number\n"


def test_a_server_that_does_not_answer_is_a_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "WAIT_S", 0.0)
    monkeypatch.setenv("FLUORO_CATALOG_PORT", "1")

    assert prepare.main(["catalog"]) == 1
    assert capsys.readouterr().err.startswith("the catalog does not answer, or refuses: connection failed")
