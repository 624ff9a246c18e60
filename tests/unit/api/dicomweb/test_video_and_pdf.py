"""Videos and PDFs are rendered as they are stored (CONFORMANCE.md, WADO-RS rendered resources)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from schemas.telemetry import API_DAMAGED
from tests.support.data.sent_images import native_image
from tests.support.worlds.pictures import INSTANCE, LIMITS, address_of, archive, without_pixels
from tests.support.worlds.reading import World, part10, scope_of, still_there

VIDEO = "1.2.840.10008.1.2.4.102"


def test_a_video_is_answered_as_stored(corpus: Path) -> None:
    whole = (corpus / "synthetic/video_h264.dcm").read_bytes()
    with archive(whole) as ask:
        at = address_of(whole)
        video = ask(f"{at}/rendered")

        assert (video.status_code, video.headers["content-type"]) == (200, "video/mp4")
        # Chromium's player shows it with this policy, and not without its origin.
        assert video.headers["content-security-policy"].endswith("; sandbox allow-same-origin")
        assert video.content.rstrip(b"\0") in whole
        assert len(video.content) > 1000
        assert ask(f"{at}/rendered", accept="image/jpeg").status_code == 406
        assert ask(f"{at}/frames/1/rendered").status_code == 406


@pytest.mark.parametrize(
    ("whole", "reason"),
    [
        (without_pixels(part10(VIDEO, [b"stream"])), "no-pixels"),
        (without_pixels(part10(VIDEO, [b"stream"])) + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff", "no-pixels"),
        (part10(VIDEO, [b"stream"]).replace(b"\xfe\xff\x00\xe0", b"none"), "bad-frame"),
    ],
)
def test_a_video_without_a_stream_is_406_and_not_counted_as_damage(whole: bytes, reason: str) -> None:
    damaged = sum(sample.value for metric in API_DAMAGED.collect() for sample in metric.samples)
    with archive(whole) as ask:
        response = ask(f"{INSTANCE}/rendered")

    assert (response.status_code, response.json()["reason"]) == (406, reason)
    assert sum(sample.value for metric in API_DAMAGED.collect() for sample in metric.samples) == damaged


def test_a_large_document_is_never_whole_in_memory() -> None:
    largest: list[int] = []

    async def send(message: Any) -> None:
        largest.append(len(message.get("body", b"")))

    async def asked() -> None:
        world = World(render=LIMITS)
        document = b"%PDF-" + bytes(24 * 2**20 - 5)
        await world.add(
            without_pixels(part10(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=document))
        )
        await world.app(scope_of(f"{INSTANCE}/rendered"), still_there, send)

    asyncio.run(asked())

    assert (sum(largest), max(largest) < 2**20) == (24 * 2**20, True)


def test_a_pdf_is_answered_as_stored_and_opens_in_place_in_a_sandbox(corpus: Path) -> None:
    whole = next(corpus.rglob("*encapsulated_pdf*.dcm")).read_bytes()
    with archive(whole) as ask:
        document = ask(f"{address_of(whole)}/rendered", accept="application/pdf")

        assert document.content.startswith(b"%PDF-")
        assert document.headers["content-type"] == "application/pdf"
        assert document.headers["content-disposition"] == "inline"
        assert document.headers["x-content-type-options"] == "nosniff"
        assert {"default-src 'none'", "sandbox"} <= set(document.headers["content-security-policy"].split("; "))
        assert ask(f"{address_of(whole)}/rendered", accept="image/png").status_code == 406


# The document, Encapsulated Document Length (0042,0015), and the bytes that are sent of the value as stored.
DOCUMENTS = {
    "its odd length, padded": (b"%PDF-12", 7, 7),
    "its even length": (b"%PDF-123", 8, 8),
    "no length": (b"%PDF-12", None, 8),
    "a length of zero": (b"%PDF-12", 0, 8),
    "a length beyond the value": (b"%PDF-12", 9, 8),
    "a length within the document": (b"%PDF-12", 5, 8),
    "a space for padding": (b"%PDF-12 ", 7, 7),
    "a line's end for padding": (b"%PDF-12\n", 7, 7),
    "another byte for padding": (b"%PDF-12\xff", 7, 7),
    "white space for padding": (b"%PDF-12 \r\n\0\0\0", 7, 7),
    "a length within the white space": (b"%PDF-1\n\n", 7, 7),
    "a block of padding": (b"%PDF-1" + bytes(4090), 6, 6),
}


@pytest.mark.parametrize("claim", DOCUMENTS)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_pdf_has_no_padding_where_its_length_says_so(claim: str, syntax: str) -> None:
    document, length, sent = DOCUMENTS[claim]
    elements: dict[str, Any] = {"EncapsulatedDocument": document} | (
        {} if length is None else {"EncapsulatedDocumentLength": length}
    )
    whole = native_image(b"", syntax, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", **elements)
    with archive(whole) as ask:
        response = ask(f"{INSTANCE}/rendered", accept="application/pdf")

    assert (response.status_code, response.content) == (200, (document + b"\0")[:sent])
    assert response.headers["content-length"] == str(sent)
