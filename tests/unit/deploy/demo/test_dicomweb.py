"""The demo's DICOMweb client returns instances as the server sent them, and reports failures with the server's reason."""

import http.server
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.demo.dicomweb import Archive
from deploy.demo.sample import write_ct
from deploy.errors import Failed

RUN = uuid.UUID(bytes=bytes([7] * 16))
MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}


@contextmanager
def answering(status: int, headers: dict[str, str], body: bytes) -> Iterator[Archive]:
    """Run a web server on a free port that answers every request in the same way."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Archive(f"http://127.0.0.1:{server.server_port}/dicomweb")
        finally:
            server.shutdown()


@pytest.mark.parametrize("has_length", [True, False])
def test_instances_come_back_byte_for_byte(has_length: bool, tmp_path: Path) -> None:  # noqa: FBT001
    write_ct(tmp_path, RUN, slices=2)
    files = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    body = b""
    for file in files:
        length = f"Content-Length: {len(file)}\r\n" if has_length else ""
        body += f"\r\n--b\r\nContent-Type: application/dicom\r\n{length}\r\n".encode() + file
    with answering(200, MULTIPART, body + b"\r\n--b--\r\n") as archive:
        instances = [instance.buffer.getvalue() for instance in archive.instances("1")]

    assert instances == files


def test_a_multipart_answer_that_ends_too_early_is_a_failure() -> None:
    body = b"--b\r\nContent-Type: application/dicom\r\nContent-Length: 600\r\n\r\nsec"
    with answering(200, MULTIPART, body) as archive, pytest.raises(Failed, match="GET studies/1: "):
        list(archive.instances("1"))


def test_an_answer_that_is_not_multipart_is_a_failure() -> None:
    with (
        answering(200, {"Content-Type": "text/html"}, b"<html>") as archive,
        pytest.raises(Failed, match="GET studies/1: "),
    ):
        list(archive.instances("1"))


def test_a_refusal_is_reported_with_its_reason() -> None:
    with (
        answering(406, {"Content-Type": "text/plain"}, b"no such transfer syntax") as archive,
        pytest.raises(Failed, match="GET studies/1: 406 no such transfer syntax"),
    ):
        list(archive.instances("1"))


def test_a_server_that_is_busy_is_not_asked_again() -> None:
    with answering(503, {}, b"busy") as archive, pytest.raises(Failed, match="503 busy"):
        archive.find("1")


def test_a_server_that_does_not_answer_is_a_failure() -> None:
    with pytest.raises(Failed, match=r"GET studies\?StudyInstanceUID=1: "):
        Archive("http://127.0.0.1:9/dicomweb").find("1")


@pytest.mark.parametrize(
    ("status", "body", "is_served"), [(200, b"[{}]", True), (200, b"[]", False), (404, b"", False)]
)
def test_a_study_is_served_while_its_metadata_are(status: int, body: bytes, is_served: bool) -> None:  # noqa: FBT001
    with answering(status, {"Content-Type": "application/dicom+json"}, body) as archive:
        assert archive.is_served("1.2") == is_served


def test_a_server_that_fails_serves_or_hides_nothing() -> None:
    with answering(503, {}, b"busy") as archive, pytest.raises(Failed, match=r"GET studies/1\.2/metadata: 503 busy"):
        archive.is_served("1.2")
