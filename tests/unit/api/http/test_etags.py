"""An answer that the client has is not sent again, and its tag changes with its instances (CONFORMANCE.md, WADO-RS)."""

import asyncio
from hashlib import sha256
from io import BytesIO
from typing import Any, cast

import httpx
import numpy as np
import pytest
from pydicom import dcmread

from api.http import etags
from tests.support.data.render_jobs import opened
from tests.support.data.sent_images import described, native_image, sequence_item
from tests.support.worlds.pictures import archive
from tests.support.worlds.reading import World, bodies, part10

STUDY = "/dicomweb/studies/1.2.3"
INSTANCE = f"{STUDY}/series/1.2.3.1/instances/1.2.3.1.1"
ONE = part10(RedPaletteColorLookupTableData=bytes(2000))
TWO = part10(SOPInstanceUID="1.2.3.1.2", InstanceNumber=2)
PATHS = (
    STUDY,
    f"{STUDY}/series/1.2.3.1",
    INSTANCE,
    f"{STUDY}/metadata",
    f"{INSTANCE}/metadata",
    f"{INSTANCE}/frames/1",
    f"{INSTANCE}/bulkdata/00281201",
)


def asked(*requests: tuple[str, str, dict[str, str]], later: bytes = b"") -> list[httpx.Response]:
    """Send requests (method, path, headers); if `later` is given, store it and send the last request again."""

    async def sent() -> list[httpx.Response]:
        world = World()
        await world.add(ONE)
        found = [await world.ask(method, path, **headers) for method, path, headers in requests]
        if later:
            await world.add(later)
            method, path, headers = requests[-1]
            found.append(await world.ask(method, path, **headers))
        return found

    return asyncio.run(sent())


def tag_of(path: str, **headers: str) -> str:
    (response,) = asked(("GET", path, headers))
    assert response.status_code == 200
    return response.headers["etag"]


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_that_the_client_has_is_304_without_a_body(path: str) -> None:
    tag = tag_of(path)
    (response,) = asked(("GET", path, {"if_none_match": f'"other", {tag}'}))

    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == tag
    assert response.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("path", PATHS)
def test_the_same_tag_is_the_same_bytes(path: str) -> None:
    first, second = asked(("GET", path, {}), ("GET", path, {}))

    assert first.headers["etag"] == second.headers["etag"]
    assert first.content == second.content


@pytest.mark.parametrize("text", ["*", "W/{tag}", '"a", "b",{tag}'])
def test_a_tag_matches_in_every_form_of_if_none_match(text: str) -> None:
    (response,) = asked(("GET", INSTANCE, {"if_none_match": text.format(tag=tag_of(INSTANCE))}))

    assert response.status_code == 304


@pytest.mark.parametrize("text", ['"other"', "nonsense", '"' * 9000, ""])
def test_a_header_without_the_tag_is_answered_in_full(text: str) -> None:
    (response,) = asked(("GET", INSTANCE, {"if_none_match": text}))

    assert response.status_code == 200


@pytest.mark.parametrize("path", [STUDY, f"{STUDY}/metadata"])
def test_another_instance_changes_the_tag_of_its_study(path: str) -> None:
    before, after = asked(("GET", path, {}), later=TWO)

    assert before.headers["etag"] != after.headers["etag"]


@pytest.mark.parametrize("path", PATHS)
def test_an_instance_stored_again_behind_another_file_meta_is_answered_under_another_tag(path: str) -> None:
    async def asked_again() -> tuple[httpx.Response, httpx.Response]:
        world = World()
        await world.add(ONE)
        before = await world.get(path)
        world.objects.objects.clear()
        await world.add(behind_other_meta(ONE))
        return before, await world.get(path, if_none_match=before.headers["etag"])

    before, after = asyncio.run(asked_again())

    assert after.headers["etag"] != before.headers["etag"]
    one, other = (bodies_of(response) for response in (before, after))
    assert other == ([behind_other_meta(ONE)] if one == [ONE] else one)


def bodies_of(response: httpx.Response) -> list[bytes]:
    """Return the bodies of an answer's parts, or that of an answer without parts."""
    is_multipart = response.headers["content-type"].startswith("multipart")
    return bodies(response) if is_multipart else [response.raise_for_status().content]


def behind_other_meta(file: bytes) -> bytes:
    """Return the same data set behind a longer file meta."""
    dataset, buffer = dcmread(BytesIO(file)), BytesIO()
    dataset.file_meta.SourceApplicationEntityTitle = "OTHER"
    dataset.save_as(buffer, enforce_file_format=True)
    assert buffer.getvalue().endswith(file[-1000:])
    return buffer.getvalue()


def test_another_instance_does_not_change_the_tag_of_an_instance() -> None:
    before, after = asked(("GET", INSTANCE, {}), later=TWO)

    assert before.headers["etag"] == after.headers["etag"]


def test_each_form_of_an_answer_has_a_tag_of_its_own() -> None:
    forms = [
        tag_of(INSTANCE),
        tag_of(INSTANCE, accept="application/dicom"),
        tag_of(f"{INSTANCE}/metadata"),
        tag_of(f"{INSTANCE}/metadata", accept="application/json"),
        tag_of(f"{INSTANCE}/frames/1"),
        tag_of(f"{INSTANCE}/frames/1", accept="application/octet-stream"),
    ]

    assert len(set(forms)) == len(forms)


@pytest.mark.parametrize("path", [f"{INSTANCE}/frames/1", f"{INSTANCE}/metadata"])
def test_the_number_of_an_answers_form_changes_the_tags_of_that_answer_alone(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tag_of(path)
    monkeypatch.setitem(cast("dict[str, int]", etags.FORMS), "frames", etags.FORMS["frames"] + 1)

    assert (tag_of(path) == before) == path.endswith("metadata")


def test_a_missing_resource_is_404_even_with_if_none_match() -> None:
    (response,) = asked(("GET", "/dicomweb/studies/9", {"if_none_match": "*"}))

    assert response.status_code == 404


@pytest.mark.parametrize("path", [*PATHS, "/dicomweb/studies", "/dicomweb/studies/9", "/healthz"])
def test_head_has_the_headers_of_get_and_no_body(path: str) -> None:
    get, head = asked(("GET", path, {}), ("HEAD", path, {}))

    assert head.content == b""
    assert head.status_code == get.status_code
    assert head.headers.get("etag") == get.headers.get("etag")
    assert head.headers.get("content-type") == get.headers["content-type"]
    assert head.headers.get("content-length") == get.headers.get("content-length")


WINDOWED = described(2, 4, WindowCenter="100.5", WindowWidth="101")
INVERSE = {"LUTDescriptor": ("US", [256, 0, 8]), "LUTData": ("OW", bytes(range(255, -1, -1)))}
SAMPLES = bytes(range(0, 240, 30))
FULL_CHROMA = described(2, 4, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="YBR_FULL_422")
SIGNED = described(2, 4, BitsAllocated=16, BitsStored=12, HighBit=11, PixelRepresentation=1)
REPORT: dict[str, Any] = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1", "EncapsulatedDocument": b"%PDF-1.4 12"}
# The last two entries repeat the second segment, whose offset is 6 bytes.
SEGMENTED = np.array([0, 1, 0xFF00, 0, 2, 0x1200, 0x3400, 2, 1, 6, 0], "<u2").tobytes()
COLOURS = ("Red", "Green", "Blue")
PALETTE: dict[str, Any] = {f"{colour}PaletteColorLookupTableDescriptor": ("US", [5, 30, 16]) for colour in COLOURS}
PALETTE |= {f"Segmented{colour}PaletteColorLookupTableData": ("OW", SEGMENTED) for colour in COLOURS}
PICTURES = (
    native_image(SAMPLES, **WINDOWED),
    native_image(SAMPLES, VOILUTSequence=[sequence_item(**INVERSE)], **described(2, 4)),
    native_image(SAMPLES * 3, **FULL_CHROMA),
    native_image(bytes(range(16)), **SIGNED),
)
PALETTED = described(2, 4, PhotometricInterpretation="PALETTE COLOR") | PALETTE
# The images that are asked for under each name.
IMAGES = {
    "frames": PICTURES,
    "rendered": (*PICTURES, native_image(bytes(range(29, 37)), **PALETTED)),
    "metadata": (
        *PICTURES,
        native_image(SAMPLES, **described(2, 4), StudyID=("FL", [14.5, -0.5]), WindowCenter="1.50"),
    ),
}
IMAGES["thumbnail"] = IMAGES["rendered"]
# What is asked for under each name, and the media type.
ASKED = {
    "thumbnail": ("thumbnail", "image/png"),
    "frames": ("frames/1", "application/octet-stream"),
    "rendered": ("frames/1/rendered", "image/png"),
    "metadata": ("metadata", "application/dicom+json"),
}
# What is asked for, of which files; the answer's name in FORMS, its number there, and the hash of its bytes. A picture's
# are its pixels, because its file depends on the library that writes it. To change a hash, raise the number.
GOLDEN = {
    "thumbnail": (6, "f56d4ed8544583d9"),
    "metadata": (7, "74bcd49ec3d55584"),
    "rendered": (6, "f56d4ed8544583d9"),
    "frames": (4, "86ee8ca0510f735e"),
    "application/pdf": (4, "fecc0119cfaf176d"),
}


def answers(name: str) -> list[bytes]:
    """Return the answers of this name that are kept as golden ones."""
    if name == "application/pdf":
        with archive(native_image(b"", EncapsulatedDocumentLength=11, **REPORT)) as ask:
            return [ask(f"{INSTANCE}/rendered", accept=name).content]
    path, accept = ASKED[name]
    found = []
    for whole in IMAGES[name]:
        with archive(whole) as ask:
            content = ask(f"{INSTANCE}/{path}", accept=accept).content
            found.append(opened(content).tobytes() if accept == "image/png" else content)
    return found


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_answers_of_a_form_are_those_of_its_number(name: str) -> None:
    digest = sha256(b"".join(answers(name))).hexdigest()

    assert (etags.FORMS[name], digest[:16]) == GOLDEN[name]
