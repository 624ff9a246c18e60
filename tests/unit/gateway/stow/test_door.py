"""The STOW-RS door stores every part that can be stored, answers with a result for each, and holds no whole request."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from structlog.testing import capture_logs

from gateway.stow.door import is_for_stow
from operators.connectors.memory.stores import MemoryObjectStore, Outage
from operators.dicom.part10 import split_part10
from operators.errors import Unavailable
from operators.store.ports import PlainUpload
from schemas.objects import Bucket
from schemas.settings.web import StowSettings
from schemas.telemetry import STOW_REFUSED
from tests.support.worlds.gateway import intake_in
from tests.support.worlds.intake import CT
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import BOUNDARY, PARTS, Response, StowWorld, multipart, stow_world

SPECIFIC = {f"1.2.3.1.{number}": part10(SOPInstanceUID=f"1.2.3.1.{number}", InstanceNumber=number) for number in (1, 2)}
ONE, TWO = SPECIFIC.values()
OTHER = part10(StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.4.1", SOPInstanceUID="1.2.4.1.1")
# A leading zero in a UID: stored, with a warning.
ODD = part10(SOPInstanceUID="1.2.3.11.9").replace(b"1.2.3.11.9", b"1.2.3.01.9")
NO_UID = part10(SOPInstanceUID="1.2.3.1.8").replace(b"1.2.3.1.8\0", b"1.2/3.1.8\0")
NOT_PART10 = ONE[132:]
# A whole part and the boundary after it; another part may follow.
OPENING = multipart(ONE).removesuffix(b"--\r\n")
REFERENCED, FAILED, OTHER_FAILURES = "00081199", "00081198", "0008119A"
SOP_CLASS, SOP_UID = "00081150", "00081155"

Ask = Callable[[StowWorld], Awaitable[Response]]


def asked(folder: Path, ask: Ask, **world: Any) -> tuple[Response, StowWorld]:
    """Send a request to a new archive; return the response and the archive."""

    async def run() -> tuple[Response, StowWorld]:
        async with stow_world(folder, **world) as opened:
            response = await ask(opened)
            await opened.ends()
            return response, opened

    return asyncio.run(run())


def posted(folder: Path, *chunks: bytes, **headers: str) -> tuple[Response, StowWorld]:
    return asked(folder, lambda world: world.post(*chunks, **headers))


def test_instances_are_stored_as_received_and_the_response_has_their_addresses(tmp_path: Path) -> None:
    response, world = posted(tmp_path, multipart(ONE, TWO))

    assert response.status == 200
    assert response.headers["content-type"] == "application/dicom+json"
    assert world.stored() == [ONE, TWO]
    assert response.json["00081190"] == {"vr": "UR", "Value": ["http://localhost:8060/dicomweb/studies/1.2.3"]}
    assert response.codes(REFERENCED, "00081190") == [
        f"http://localhost:8060/dicomweb/studies/1.2.3/series/1.2.3.1/instances/{uid}" for uid in SPECIFIC
    ]
    assert response.codes(REFERENCED, SOP_CLASS) == [CT, CT]
    assert set(response.json) == {"00081190", REFERENCED}


def test_addresses_have_the_port_that_a_client_left_out_of_its_host(tmp_path: Path) -> None:
    response, _ = posted(tmp_path, multipart(ONE), host="127.0.0.1")

    assert response.json["00081190"]["Value"] == ["http://127.0.0.1:8060/dicomweb/studies/1.2.3"]


@pytest.mark.parametrize(
    "other",
    [part10(SOPInstanceUID="1.2.3.1.1", SeriesInstanceUID="1.2.3.7"), part10(SOPInstanceUID="1.2.3.1.1", Rows=3)],
    ids=["another series", "the same series"],
)
def test_a_content_beside_the_shown_one_is_stored_with_a_warning_and_without_an_address(
    tmp_path: Path, other: bytes
) -> None:
    async def run() -> list[tuple[int, list[Any], list[Any]]]:
        async with stow_world(tmp_path) as world:
            answers = [await world.post(multipart(file)) for file in (ONE, other, ONE, other)]
            assert world.stored() == [ONE, other]
            return [
                (answer.status, answer.codes(REFERENCED, "00081196"), answer.codes(REFERENCED, "00081190"))
                for answer in answers
            ]

    address = "http://localhost:8060/dicomweb/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"
    assert asyncio.run(run()) == 2 * [(200, [], [address]), (202, [0xB007], [])]


@pytest.mark.parametrize(
    ("files", "logged"),
    [((ONE,), ("well", 1, 0)), ((NO_UID,), ("refused", 0, 1)), ((ONE, NO_UID, b"no file"), ("well", 1, 2))],
    ids=["stored", "refused", "stored and refused"],
)
def test_a_request_is_logged_by_what_became_of_its_instances(
    tmp_path: Path, files: tuple[bytes, ...], logged: tuple[str, int, int]
) -> None:
    with capture_logs() as logs:
        posted(tmp_path, multipart(*files))

    (ended,) = (line for line in logs if line["event"] == "store_ended")
    assert (ended["outcome"], ended["instances"], ended["refused"]) == logged


def test_the_response_is_xml_if_the_client_accepts_that(tmp_path: Path) -> None:
    response, _ = posted(tmp_path, multipart(ONE, NO_UID), accept="application/dicom+xml")
    root = ET.fromstring(response.body)  # noqa: S314 - our own
    space = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"

    assert (response.status, response.headers["content-type"]) == (202, "application/dicom+xml")
    assert root.tag == f"{space}NativeDicomModel"
    item = root.find(f"{space}DicomAttribute[@keyword='ReferencedSOPSequence']/{space}Item[@number='1']")
    assert item is not None
    assert [element.findtext(f"{space}Value") for element in item][1] == "1.2.3.1.1"


ANSWERS = {
    "all-stored": ([ONE, TWO], 200, []),
    "a-warning": ([ONE, ODD], 202, []),
    "two-studies": ([ONE, OTHER], 200, []),
    "some-failed": ([ONE, NO_UID], 202, [0xC000]),
    "none-stored": ([NO_UID, NOT_PART10], 409, [0xC000, 0xC000]),
}


@pytest.mark.parametrize(("files", "status", "failures"), ANSWERS.values(), ids=list(ANSWERS))
def test_status_and_failure_reasons_follow_the_results_of_the_parts(
    tmp_path: Path, files: list[bytes], status: int, failures: list[int]
) -> None:
    response, _ = posted(tmp_path, multipart(*files))

    assert (response.status, response.failures()) == (status, failures)
    assert (FAILED in response.json or OTHER_FAILURES in response.json) == bool(failures)


def test_an_instance_of_another_study_than_the_address_names_fails_alone_and_is_not_quarantined(tmp_path: Path) -> None:
    response, world = posted(tmp_path, multipart(OTHER, ONE), path="/dicomweb/studies/1.2.3")

    assert (response.status, response.failures()) == (202, [0xA901])
    assert response.codes(FAILED, SOP_UID) == ["1.2.4.1.1"]
    assert (world.stored(), world.stored(Bucket.QUARANTINE)) == ([ONE], [])


@pytest.mark.parametrize("file", [NO_UID, NOT_PART10, b"", b"DICM", ONE[:140], bytes(3000)], ids=range(6))
def test_an_unreadable_part_is_quarantined_as_it_was_received(tmp_path: Path, file: bytes) -> None:
    response, world = posted(tmp_path, multipart(file))

    assert (response.status, response.failures()) == (409, [0xC000])
    assert (world.stored(), world.stored(Bucket.QUARANTINE)) == ([], [file])


def test_a_sop_class_that_differs_from_the_file_meta_is_a_mismatch(tmp_path: Path) -> None:
    length = split_part10(ONE).prefix_length
    mr = ONE[:length].replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.5.1.4.1.1.4\0") + ONE[length:]

    response, world = posted(tmp_path, multipart(mr))

    assert (response.status, response.failures()) == (409, [0xA900])
    assert world.stored(Bucket.QUARANTINE) == [mr]


def test_the_data_set_alone_names_the_instance(tmp_path: Path) -> None:
    length = split_part10(ONE).prefix_length
    renamed = ONE[:length].replace(b"1.2.3.1.1\0", b"9.9.9.9.9\0") + ONE[length:]

    response, world = posted(tmp_path, multipart(renamed))

    assert (response.status, response.codes(REFERENCED, SOP_UID)) == (200, ["1.2.3.1.1"])
    assert world.stored() == [renamed]


def test_a_hostile_preamble_is_stored_as_received(tmp_path: Path) -> None:
    polyglot = b"MZ\x90\0<script>alert(1)</script>".ljust(128, b"\x7f") + ONE[128:]

    response, world = posted(tmp_path, multipart(polyglot))

    assert (response.status, world.stored()) == (200, [polyglot])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/dicom", ONE),
        (f"multipart/related; type=application/dicom; boundary={BOUNDARY}", multipart(ONE)),
        (f'Multipart/Related; boundary="{BOUNDARY}"; Type="Application/Dicom"', multipart(ONE)),
        (f"multipart/related; boundary={BOUNDARY}", multipart(ONE)),
        (PARTS, multipart(ONE, content_type="application/dicom; transfer-syntax=1.2.840.10008.1.2.1")),
        (PARTS, multipart(ONE).replace(b"Content-Type: application/dicom\r\n", b"")),
        (PARTS, b"preamble\r\n" + multipart(ONE) + b"epilogue"),
    ],
    ids=["single", "unquoted", "quoted", "untyped", "transfer-syntax", "no-part-type", "around"],
)
def test_every_form_that_clients_send_is_accepted(tmp_path: Path, content_type: str, body: bytes) -> None:
    response, world = posted(tmp_path, body, content_type=content_type)

    assert (response.status, world.stored()) == (200, [ONE])


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_any_chunks_store_the_same_bytes(tmp_path: Path, size: int) -> None:
    body = multipart(ONE, NOT_PART10, TWO)

    response, world = posted(tmp_path, *(body[at : at + size] for at in range(0, len(body), size)))

    assert (response.status, response.failures()) == (202, [0xC000])
    assert (sorted(world.stored()), world.stored(Bucket.QUARANTINE)) == (sorted([ONE, TWO]), [NOT_PART10])


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"Content-Type: application/dicom+json\r\n", 0xC002),
        (b"Content-Type: dicom\r\n", 0xC002),
        (b"Content-Type: application/dicom\r\nContent-Transfer-Encoding: base64\r\n", 0xC002),
        (b"Content-Type: application/dicom\r\nContent-Length: 12\r\n", 0xC003),
    ],
)
def test_a_part_whose_headers_are_wrong_fails_alone(tmp_path: Path, head: bytes, code: int) -> None:
    body = f"--{BOUNDARY}\r\n".encode() + head + b"\r\n" + TWO + b"\r\n" + multipart(ONE)

    response, world = posted(tmp_path, body)

    assert (response.status, response.failures(), world.stored()) == (202, [code], [ONE])


def test_a_part_that_is_too_large_fails_alone(tmp_path: Path) -> None:
    small = intake_in(tmp_path, instance_bytes=len(ONE), memory_instance_bytes=0)
    large = ONE + bytes(1000)

    response, world = asked(tmp_path, lambda world: world.post(multipart(large, ONE)), taking_in=small)

    assert (response.status, response.failures(), world.stored()) == (202, [0xC001], [ONE])


REFUSALS: dict[str, tuple[dict[str, str], str, int, str]] = {
    "no-type": ({"content-type": ""}, "", 415, "media-type"),
    "gzip": ({"content-encoding": "gzip"}, "", 415, "content-encoding"),
    "accept": ({"accept": "text/html"}, "", 406, "not-acceptable"),
    "uid": ({}, "/1.2.x", 400, "bad-uid"),
    "no-boundary": ({"content-type": "multipart/related; type=application/dicom"}, "", 400, "multipart-boundary"),
    "long-boundary": ({"content-type": f"multipart/related; boundary={'x' * 71}"}, "", 400, "multipart-boundary"),
    "length": ({"content-length": str(9 * 2**30)}, "", 413, "request-bytes"),
    "cut": ({"content-length": "12"}, "", 400, "content-length"),
    "origin": ({"origin": "http://evil.example"}, "", 403, "origin"),
    "cross-site": ({"sec-fetch-site": "cross-site"}, "", 403, "fetch-site"),
    "same-site": ({"sec-fetch-site": "same-site"}, "", 403, "fetch-site"),
    "sandboxed": ({"origin": "null"}, "", 403, "origin"),
    "host": ({"host": "evil.example:8060"}, "", 403, "host"),
    "port": ({"host": "localhost:@evil.example"}, "", 403, "host"),
    "proxy": ({"x-forwarded-for": "10.0.0.1"}, "", 403, "forwarded"),
}


@pytest.mark.parametrize(("headers", "path", "status", "reason"), REFUSALS.values(), ids=list(REFUSALS))
def test_a_request_that_breaks_a_rule_is_refused_and_counted_and_nothing_is_stored(
    tmp_path: Path, headers: dict[str, str], path: str, status: int, reason: str
) -> None:
    before = STOW_REFUSED.labels(reason)._value.get()

    response, world = posted(tmp_path, multipart(NOT_PART10)[:40], path=f"/dicomweb/studies{path}", **headers)

    assert (response.status, world.store.objects) == (status, {})
    assert response.json["reason"] == reason
    assert response.headers["connection"] == "close"
    assert STOW_REFUSED.labels(reason)._value.get() == before + 1


def test_only_this_machine_may_store(tmp_path: Path) -> None:
    response, world = asked(tmp_path, lambda world: world.ask([], headers={"content-type": PARTS}, client="10.0.0.1"))

    assert (response.status, response.json["reason"], world.store.objects) == (403, "not-loopback", {})


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 204), ("PUT", 405), ("DELETE", 405)])
def test_other_methods_are_told_what_is_allowed(tmp_path: Path, method: str, status: int) -> None:
    response, _ = asked(tmp_path, lambda world: world.ask([], method=method))

    assert (response.status, response.headers["allow"]) == (status, "GET, HEAD, OPTIONS, POST")


def test_a_preflight_of_another_origin_is_refused(tmp_path: Path) -> None:
    headers = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}

    response, _ = asked(tmp_path, lambda world: world.ask([], method="OPTIONS", headers=headers))

    assert response.status == 403
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("method", "path", "is_expected"),
    [
        ("POST", "/dicomweb/studies", True),
        ("POST", "/dicomweb/studies/1.2.3", True),
        ("OPTIONS", "/dicomweb/studies", True),
        ("GET", "/dicomweb/studies", False),
        ("POST", "/dicomweb/studies/1.2.3/series", False),
        ("POST", "/dicomweb/studies/", False),
        ("POST", "/dicomweb/series", False),
        ("POST", "/readyz", False),
    ],
)
def test_the_door_answers_requests_for_studies_other_than_get_and_head(
    method: str,
    path: str,
    is_expected: bool,  # noqa: FBT001
) -> None:
    assert is_for_stow(method, path) is is_expected


def test_a_request_without_parts_is_bad_syntax(tmp_path: Path) -> None:
    response, _ = posted(tmp_path, f"--{BOUNDARY}--".encode())

    assert (response.status, response.json["reason"]) == (400, "no-parts")


@pytest.mark.parametrize(
    ("settings", "tail"),
    [
        (StowSettings(), b""),
        (StowSettings(), b"\r\nbroken\r\n\r\n"),
        (StowSettings(parts=1), b"\r\n\r\n" + TWO),
        (StowSettings(request_bytes=len(OPENING) + 10), b"\r\n\r\n" + TWO),
    ],
    ids=["cut", "syntax", "parts", "bytes"],
)
def test_the_parts_before_a_broken_off_body_are_stored_and_in_the_response(
    tmp_path: Path, settings: StowSettings, tail: bytes
) -> None:
    async def ask(world: StowWorld) -> Response:
        response = await world.post(OPENING, tail)
        assert [end.outcome for end in await world.ends()] == ["partial"]
        return response

    response, world = asked(tmp_path, ask, settings=settings)

    assert (response.status, world.stored()) == (202, [ONE])
    assert response.codes(OTHER_FAILURES, "00081197") == [0xC004]
    assert response.headers["connection"] == "close"


def test_more_bytes_than_a_request_may_have_are_413(tmp_path: Path) -> None:
    response, world = asked(
        tmp_path, lambda world: world.post(multipart(ONE)), settings=StowSettings(request_bytes=100)
    )

    assert (response.status, response.json["reason"], world.stored()) == (413, "request-bytes", [])


@pytest.mark.parametrize("outage", [Outage.REFUSES, Outage.LOSES_ANSWER])
def test_an_archive_that_cannot_store_says_when_to_try_again(tmp_path: Path, outage: Outage) -> None:
    response, world = asked(
        tmp_path, lambda world: world.post(multipart(ONE, TWO)), store=MemoryObjectStore(outage=outage)
    )

    assert (response.status, response.headers["retry-after"]) == (503, "5")
    assert response.failures() == [0xA700, 0xA700]
    assert len(world.instances) == len(world.stored())


class LimitedStore(MemoryObjectStore):
    """A store that is unavailable once it has `room` objects, and counts the PUTs."""

    def __init__(self, room: int = 1) -> None:
        super().__init__()
        self.room, self.asked = room, 0

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        self.asked += 1
        await asyncio.sleep(0)
        if len(self.objects) >= self.room:
            raise Unavailable("store")
        return await super().put(bucket, upload)


def test_parts_that_could_not_be_stored_are_a700_and_the_transfer_is_partial(tmp_path: Path) -> None:
    response, world = asked(
        tmp_path,
        lambda world: world.post(multipart(ONE, TWO)),
        settings=StowSettings(at_once=1),
        store=LimitedStore(),
    )

    assert (response.status, response.failures(), world.stored()) == (202, [0xA700], [ONE])
    assert response.codes(FAILED, SOP_UID) == ["1.2.3.1.2"]


def test_after_the_first_part_that_could_not_be_stored_no_other_is_tried(tmp_path: Path) -> None:
    store = LimitedStore(room=0)
    files = [part10(SOPInstanceUID=f"1.2.3.1.{number}") for number in range(1, 101)]

    response, _ = asked(
        tmp_path, lambda world: world.post(multipart(*files)), settings=StowSettings(at_once=3), store=store
    )

    assert (response.status, response.headers["retry-after"], store.asked <= 3) == (503, "5", True)
    assert response.failures() == [0xA700] * 100


class FaultyStore(MemoryObjectStore):
    """A store that fails unexpectedly at its second object."""

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        if self.objects:
            raise RuntimeError
        return await super().put(bucket, upload)


def test_an_unexpected_error_fails_one_part_and_the_transfer_is_partial(tmp_path: Path) -> None:
    async def ask(world: StowWorld) -> Response:
        response = await world.post(multipart(ONE, TWO))
        again = await world.post(multipart(TWO))
        assert (again.status, again.failures()) == (500, [0x0110])
        assert [(end.outcome, end.instances) for end in await world.ends()] == [("partial", 1), ("partial", 0)]
        return response

    response, _ = asked(tmp_path, ask, settings=StowSettings(at_once=1), store=FaultyStore())

    assert (response.status, response.failures()) == (202, [0x0110])


@pytest.mark.parametrize("tail", [b"", b"--\r\n" + b"x" * 2000], ids=["cut", "epilogue"])
def test_a_part_that_may_be_stored_later_makes_the_response_503_although_the_body_breaks_off(
    tmp_path: Path, tail: bytes
) -> None:
    response, _ = asked(
        tmp_path, lambda world: world.post(OPENING, tail), store=MemoryObjectStore(outage=Outage.REFUSES)
    )

    assert (response.status, response.failures()) == (503, [0xA700, 0xC004])
    assert (response.headers["retry-after"], response.headers["connection"]) == ("5", "close")


def test_a_part_that_may_be_stored_later_makes_the_response_503_although_another_never_can_be(tmp_path: Path) -> None:
    body = multipart(ONE, content_type="text/plain").removesuffix(f"--{BOUNDARY}--\r\n".encode()) + multipart(TWO)

    response, _ = asked(tmp_path, lambda world: world.post(body), store=MemoryObjectStore(outage=Outage.REFUSES))

    assert (response.status, sorted(response.failures()), response.headers["retry-after"]) == (
        503,
        [0xA700, 0xC002],
        "5",
    )


def test_a_request_whose_parts_are_all_stored_ends_its_transfer_well(tmp_path: Path) -> None:
    async def ask(world: StowWorld) -> Response:
        response = await world.post(multipart(ONE, OTHER, TWO))
        ends = sorted((end.study_uid, end.outcome, end.instances) for end in await world.ends())
        assert ends == [("1.2.3", "well", 2), ("1.2.4", "well", 1)]
        return response

    assert asked(tmp_path, ask)[0].status == 200


def test_an_instance_that_is_sent_again_is_a_success_and_no_new_object(tmp_path: Path) -> None:
    async def ask(world: StowWorld) -> Response:
        await world.post(multipart(ONE))
        return await world.post(multipart(ONE, ONE))

    response, world = asked(tmp_path, ask)

    assert (response.status, world.stored()) == (200, [ONE])
    assert len({event.event_id for event in world.instances}) == 1


def test_when_a_client_disconnects_its_complete_parts_are_stored_and_the_transfer_is_aborted(tmp_path: Path) -> None:
    async def ask(world: StowWorld) -> Response:
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": OPENING + b"\r\n\r\n" + TWO[:900], "more_body": True},
            {"type": "http.disconnect"},
        ]
        response = await world.ask(messages, headers={"content-type": PARTS})
        assert [end.outcome for end in await world.ends()] == ["aborted"]
        assert world.intake.room.held_bytes == 0
        return response

    response, world = asked(tmp_path, ask)

    assert (response.status, world.stored()) == (0, [ONE])


def test_a_client_that_stops_sending_gets_408_and_is_disconnected(tmp_path: Path) -> None:
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": multipart(ONE)[:500], "more_body": True}]

    response, world = asked(
        tmp_path,
        lambda world: world.ask(messages, headers={"content-type": PARTS}),
        settings=StowSettings(silence_s=0.1),
    )

    assert (response.status, response.json["reason"], response.headers["connection"]) == (408, "too-slow", "close")
    assert (world.stored(), world.intake.room.held_bytes) == ([], 0)


def test_a_client_that_sends_single_bytes_gets_408_however_often_it_sends(tmp_path: Path) -> None:
    async def ask(world: StowWorld) -> Response:
        sent = 0

        class Dripping:
            def __iter__(self) -> "Dripping":
                return self

            def __next__(self) -> dict[str, Any]:
                nonlocal sent
                sent += 1
                return {"type": "http.request", "body": b"-", "more_body": True}

        return await world.ask(Dripping(), headers={"content-type": PARTS})

    settings = StowSettings(silence_s=0.1, slowest_bytes_per_s=1e9, outside_bytes=10**9)

    assert asked(tmp_path, ask, settings=settings)[0].status == 408


class GatedStore(MemoryObjectStore):
    """A store whose PUTs wait for a gate, and which counts how many wait."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waiting = self.most = 0

    async def put(self, bucket: Bucket, upload: PlainUpload) -> bool:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.gate.wait()
        self.waiting -= 1
        return await super().put(bucket, upload)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


def test_a_few_parts_of_a_request_are_stored_at_a_time_and_the_next_one_waits_unread(tmp_path: Path) -> None:
    gated = GatedStore()
    files = [part10(SOPInstanceUID=f"1.2.3.1.{number}") for number in range(1, 21)]
    read = 0

    async def ask(world: StowWorld) -> Response:
        def messages() -> Any:
            nonlocal read
            for file in [*files, None]:
                read += 1
                body = multipart(file).removesuffix(f"--{BOUNDARY}--\r\n".encode()) if file else multipart()
                yield {"type": "http.request", "body": body, "more_body": file is not None}

        asking = asyncio.create_task(world.ask(messages(), headers={"content-type": PARTS}))
        await until(lambda: gated.waiting == 3)
        for _ in range(100):
            await asyncio.sleep(0)
        assert (read, world.intake.room.held_bytes < 6 * len(ONE)) == (5, True)
        gated.gate.set()
        return await asking

    response, world = asked(tmp_path, ask, settings=StowSettings(at_once=3), store=gated)

    assert (response.status, gated.most, len(world.stored())) == (200, 3, 20)
    assert response.codes(REFERENCED, SOP_UID) == [f"1.2.3.1.{number}" for number in range(1, 21)]


def test_one_request_too_many_is_asked_to_try_again(tmp_path: Path) -> None:
    gated = GatedStore()

    async def ask(world: StowWorld) -> Response:
        first = asyncio.create_task(world.post(multipart(ONE)))
        await until(lambda: gated.waiting == 1)
        second = await world.post(multipart(TWO))
        gated.gate.set()
        assert (await first).status == 200
        return second

    response, _ = asked(tmp_path, ask, settings=StowSettings(requests=1), store=gated)

    assert (response.status, response.json["reason"], response.headers["retry-after"]) == (
        503,
        "too-many-requests",
        "5",
    )


class Slow:
    """An endless request that sends size_bytes every every_s seconds."""

    def __init__(self, every_s: float, size_bytes: int) -> None:
        self.every_s, self.size_bytes = every_s, size_bytes

    async def __call__(self) -> dict[str, Any]:
        await asyncio.sleep(self.every_s)
        return {"type": "http.request", "body": bytes(self.size_bytes), "more_body": True}


YIELDING = StowSettings(requests=2, yield_s=0.05, silence_s=5.0, slowest_bytes_per_s=0, yield_bytes_per_s=1e5)


def test_when_all_places_are_taken_the_slowest_request_is_broken_off_and_a_quick_one_is_not(tmp_path: Path) -> None:
    async def ask(world: StowWorld) -> Response:
        single = {"content-type": "application/dicom"}
        quick, slow = (
            asyncio.create_task(world.ask(Slow(0.01, size_bytes), headers=single)) for size_bytes in (100_000, 10)
        )
        await until(lambda: sum(body.bytes_per_s < 1e9 for body in world.stow.requests.values()) == 2)
        response = await world.post(multipart(ONE))
        gone = await slow
        assert (gone.status, gone.json["reason"], quick.done()) == (408, "gave-way", False)
        await world.stow.close(0)
        assert (await quick).status == 503
        return response

    response, world = asked(tmp_path, ask, settings=YIELDING)

    assert (response.status, world.stored(), world.intake.room.held_bytes) == (200, [ONE], 0)


def test_a_request_that_is_broken_off_ends_once_its_last_part_is_stored(tmp_path: Path) -> None:
    gated = GatedStore()

    async def ask(world: StowWorld) -> Response:
        messages: list[dict[str, Any]] = [{"type": "http.request", "body": OPENING, "more_body": True}]
        asking = asyncio.create_task(world.ask(messages, headers={"content-type": PARTS}))
        await until(lambda: gated.waiting == 1)
        closings = [asyncio.create_task(world.stow.close(0.01)) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert not asking.done()
        gated.gate.set()
        await asyncio.gather(*closings)
        response = await asking
        assert [(end.outcome, end.instances) for end in await world.ends()] == [("aborted", 1)]
        return response

    response, world = asked(tmp_path, ask, store=gated)

    assert (response.status, response.json["reason"], world.stored()) == (503, "closing", [ONE])


def test_a_closing_door_answers_open_requests_with_503_and_ends_their_transfers(tmp_path: Path) -> None:
    async def ask(world: StowWorld) -> Response:
        messages: list[dict[str, Any]] = [{"type": "http.request", "body": OPENING, "more_body": True}]
        asking = asyncio.create_task(world.ask(messages, headers={"content-type": PARTS}))
        await until(lambda: bool(world.instances))
        await world.stow.close(0.01)
        assert [end.outcome for end in await world.ends()] == ["aborted"]
        assert (await world.post(multipart(TWO))).json["reason"] == "closing"
        return await asking

    response, world = asked(tmp_path, ask)

    assert (response.status, response.headers["retry-after"], world.stored()) == (503, "5", [ONE])


def test_a_file_meta_without_end_is_parsed_a_few_times_only(tmp_path: Path) -> None:
    meta = b"\2\0\x50\0UN\0\0" * 200_000
    body = multipart(bytes(128) + b"DICM" + meta)

    response, world = posted(tmp_path, *(body[at : at + 1000] for at in range(0, len(body), 1000)))

    assert (response.status, response.failures()) == (409, [0xC000])
    assert [len(data) for data in world.stored(Bucket.QUARANTINE)] == [132 + len(meta)]


def test_a_deflated_instance_is_stored_as_received(tmp_path: Path) -> None:
    split = split_part10(ONE)
    deflater = zlib.compressobj(wbits=-15)
    data = deflater.compress(ONE[split.prefix_length :]) + deflater.flush()
    prefix = part10(transfer_syntax="1.2.840.10008.1.2.1.99")
    deflated = prefix[: split_part10(prefix).prefix_length] + data

    response, world = posted(tmp_path, multipart(deflated))

    assert (response.status, world.stored()) == (200, [deflated])
