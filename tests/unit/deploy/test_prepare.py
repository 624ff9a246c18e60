"""Servers are prepared before first use; a store that cannot delete old objects itself is used, with a warning."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from deploy import prepare
from operators.errors import Unavailable


@contextmanager
def store_answering(lifecycle: int) -> Iterator[tuple[str, list[bytes]]]:
    """Serve a store that accepts every bucket and answers lifecycle rules with this status; yield the rules received."""
    rules: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

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
        monkeypatch.setenv("FLUORO_STORE_BUCKET_PREFIX", "clinic-")
        assert prepare.main(["buckets"]) == 0

    (rule,) = rules
    assert b"<Days>7</Days>" in rule
    printed = capsys.readouterr()
    assert "bucket clinic-hot: made\n" in printed.out
    assert ("WARNING" in printed.err) == is_warned


def test_a_right_that_the_key_lacks_is_a_line_with_the_bucket_and_what_was_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with store_answering(403) as (endpoint, _):
        monkeypatch.setenv("FLUORO_STORE_ENDPOINT", endpoint)
        assert prepare.main(["buckets"]) == 1

    assert capsys.readouterr().err == (
        f"buckets: the object store cannot be used: {endpoint}: PUT in fluoro-quarantine?lifecycle: "
        "403 access key or secret key is wrong, or the key may not do this\n"
    )


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["tables"], 2)])
def test_help_and_usage_errors_name_every_preparation(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        prepare.main(arguments)

    printed = "".join(capsys.readouterr())
    assert caught.value.code == code
    assert "usage: python -m deploy.prepare" in printed
    assert "roles|catalog|topics|buckets" in printed


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
    assert capsys.readouterr().err.startswith(
        "catalog: the catalog's database cannot be used: 127.0.0.1:1, role reader: "
    )


def test_without_a_name_everything_is_prepared_that_can_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "WAIT_S", 0.0)
    monkeypatch.setenv("FLUORO_CATALOG_PORT", "1")
    monkeypatch.setenv("FLUORO_BROKER_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("FLUORO_BROKER_PRODUCE_S", "0.5")
    with store_answering(200) as (endpoint, _):
        monkeypatch.setenv("FLUORO_STORE_ENDPOINT", endpoint)
        assert prepare.main([]) == 1

    printed = capsys.readouterr()
    assert [
        line.split(":")[0] for line in printed.err.splitlines() if line.startswith(tuple(prepare.PREPARATIONS))
    ] == [
        "roles",
        "catalog",
        "topics",
    ]
    assert "bucket fluoro-hot: made" in printed.out


def test_a_server_that_refuses_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def refused() -> list[str]:
        asked.append(1)
        raise Unavailable("store-403", "https://store: 403 InvalidAccessKeyId: access key or secret key is wrong")

    monkeypatch.setitem(prepare.PREPARATIONS, "buckets", refused)

    assert prepare.main(["buckets"]) == 1
    assert asked == [1]
