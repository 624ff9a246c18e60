import http.server
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from deploy.demo import __main__ as demo
from deploy.demo import dicomweb
from deploy.demo.sample import write_ct
from deploy.errors import Failed

RUN, OTHER_RUN = (uuid.UUID(bytes=bytes([number] * 16)) for number in (7, 8))


@contextmanager
def answering(status: int, headers: dict[str, str], body: bytes) -> Iterator[str]:
    """A web server on a free port that answers everything the same way; its address."""

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
            yield f"http://127.0.0.1:{server.server_port}/dicomweb"
        finally:
            server.shutdown()


@pytest.mark.parametrize("length", [b"", b"Content-Length: 6\r\n"])
def test_multipart_answers_come_part_by_part(length: bytes) -> None:
    part = b"Content-Type: application/dicom\r\n" + length + b"\r\n"
    body = b"\r\n--b\r\n" + part + b"\r\n--x!" + b"\r\n--b\r\n" + part + b"second" + b"\r\n--b--\r\n"
    with answering(200, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}, body) as base:
        parts = list(dicomweb.retrieve(base, "/studies/1", dicomweb.PART_10))

    assert parts == [b"\r\n--x!", b"second"]


def test_a_multipart_answer_that_breaks_off_is_a_failure() -> None:
    body = b"--b\r\nContent-Length: 6\r\n\r\nsec"
    with answering(200, {"Content-Type": "multipart/related; boundary=b"}, body) as base:
        answer = dicomweb.retrieve(base, "/studies/1", dicomweb.PART_10)

        with pytest.raises(Failed, match="ended too early"):
            list(answer)


def test_a_refusal_is_told_with_its_reason() -> None:
    with (
        answering(406, {"Content-Type": "text/plain"}, b"no such transfer syntax") as base,
        pytest.raises(Failed, match="GET /studies/1: 406 no such transfer syntax"),
    ):
        list(dicomweb.retrieve(base, "/studies/1", dicomweb.PART_10))


def test_the_sample_is_a_ct_series_whose_uids_alone_differ_between_runs(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, run in ((one, RUN), (other, OTHER_RUN)):
        folder.mkdir()
        write_ct(folder, run, slices=2)
    first, second = dcmread(one / "0001.dcm"), dcmread(other / "0001.dcm")
    differing = {element.keyword for element in first if element != second[element.tag]}

    assert first.SOPClassUID == CTImageStorage
    assert first.pixel_array.shape == (512, 512)
    assert differing == {
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "AccessionNumber",
    }


def test_a_folder_is_read_as_the_instances_that_will_be_sent(tmp_path: Path) -> None:
    study_uid = write_ct(tmp_path, RUN, slices=3)
    (tmp_path / "readme.txt").write_text("not DICOM")
    sent = demo.read_study(tmp_path)

    assert len({one.sop_uid for one in sent}) == 3
    assert {one.study_uid for one in sent} == {study_uid}
    assert all(one.has_pixels for one in sent)


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_useless_folder_is_told_in_a_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failed, match="give STUDY"):
        demo.read_study(tmp_path / name)


def test_one_changed_byte_is_a_changed_data_set(tmp_path: Path) -> None:
    write_ct(tmp_path, RUN, slices=1)
    path = tmp_path / "0001.dcm"
    part10 = path.read_bytes()
    damaged = part10[:-1] + bytes([part10[-1] ^ 1])

    assert demo.same_data_set(part10, path)
    assert not demo.same_data_set(damaged, path)
