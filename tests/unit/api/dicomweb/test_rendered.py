"""Pictures from the whole application, made by real decoding processes (CONFORMANCE.md, WADO-RS rendered resources)."""

from collections.abc import Iterator

import psutil
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from operators.connectors.memory.stores import Outage
from schemas.telemetry import API_RENDERED
from tests.support.data.render_jobs import opened
from tests.support.worlds.pictures import BROKEN, INSTANCE, ONE, REPORT, SERIES, SIX, STUDY, Ask, archive, image, tones
from tests.support.worlds.reading import halved_chroma, part10, parts_of

J2K_BOMB = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + b"\x00\x00\xff\xff" * 2 + b"\x00" * 8 + b"\x00\x00\xff\xff" * 2
HOSTILE = {
    "a JPEG 2000 of 65535 lines": part10(JPEG2000Lossless, [J2K_BOMB + b"\x00\x01\x07\x01\x01\xff\xd9"]),
    "a JPEG of 65500 lines": part10(
        JPEGBaseline8Bit, [b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xdc\xff\xdc\x01\x01\x11\x00\xff\xd9"]
    ),
    "a header of 65535 rows": image({"Rows": 2, "Columns": 3, "BitsAllocated": 16}).replace(
        b"\x28\x00\x10\x00US\x02\x00\x02\x00", b"\x28\x00\x10\x00US\x02\x00\xff\xff"
    ),
}


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Yield a function that sends requests to an archive of a report, an image, three frames, and a broken image."""
    second = part10(NumberOfFrames=3, SOPInstanceUID="1.2.3.1.2", InstanceNumber=2)
    with archive(ONE, second, REPORT, BROKEN) as send:
        yield send


@pytest.mark.parametrize(
    ("accept", "media_type"), [("*/*", "image/jpeg"), ("image/png", "image/png"), ("image/gif", "image/gif")]
)
@pytest.mark.parametrize("what", ["rendered", "thumbnail", "frames/1/rendered", "frames/1/thumbnail"])
def test_an_instance_is_rendered_in_the_accepted_media_type(ask: Ask, what: str, accept: str, media_type: str) -> None:
    response = ask(f"{INSTANCE}/{what}", accept=accept)

    assert (response.status_code, response.headers["content-type"]) == (200, media_type)
    assert opened(response.content).shape[:2] == (2, 3)


def test_the_accept_parameter_overrides_the_header(ask: Ask) -> None:
    response = ask(f"{INSTANCE}/rendered?accept=image/png", accept="image/gif")

    assert response.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (f"{INSTANCE}/rendered", "image/jp2"),
        (f"{INSTANCE}/thumbnail", "text/html"),
        (f"{SERIES}/rendered", "image/jpeg"),
        (f"{SERIES}/instances/1.2.3.1.2/frames/1,2/rendered", "image/png"),
    ],
)
def test_an_unavailable_media_type_is_406_and_the_advice_names_the_available_types(
    ask: Ask, path: str, accept: str
) -> None:
    response = ask(path, accept=accept)

    assert response.status_code == 406
    assert "image/jpeg" in response.json()["advice"]


def test_the_parameters_change_the_picture(ask: Ask) -> None:
    plain = ask(f"{INSTANCE}/rendered", accept="image/png")
    seen = ask(f"{INSTANCE}/rendered?window=1,1,linear&viewport=6,4,0,0,-3,2", accept="image/png")

    assert tones(plain) == SIX
    assert opened(seen.content).shape == (4, 6)
    assert opened(seen.content)[0].tolist()[0] == 255


@pytest.mark.parametrize(
    "query", ["window=1", "viewport=0,0", "quality=0", "quality=1&quality=2", "viewport=9,9,5,5,1,1"]
)
def test_malformed_parameters_are_400_with_advice(ask: Ask, query: str) -> None:
    response = ask(f"{INSTANCE}/rendered?{query}")

    assert response.status_code == 400
    assert response.json()["advice"]


def test_annotation_is_left_out_with_a_warning(ask: Ask) -> None:
    response = ask(f"{INSTANCE}/rendered?annotation=patient")

    assert response.headers["warning"].startswith("299 http://localhost:8060/dicomweb: ")
    assert "warning" not in ask(f"{INSTANCE}/rendered").headers


def test_frames_are_rendered_in_the_requested_order(ask: Ask) -> None:
    at = f"{SERIES}/instances/1.2.3.1.2"
    response = ask(f"{at}/frames/3,1/rendered?window=6,12,linear-exact", accept="multipart/related; type=image/png")
    third, first = parts_of(response)

    assert opened(third.body).mean() > opened(first.body).mean()
    assert third.headers["content-location"] == f"http://localhost:8060{at}/frames/3/rendered"
    assert int(third.headers["content-length"]) == len(third.body)


@pytest.mark.parametrize("photometric_interpretation", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_every_frame_of_halved_chroma_is_rendered(photometric_interpretation: str) -> None:
    whole = halved_chroma(photometric_interpretation)
    with archive(whole[:-12] + bytes(range(100, 112))) as send:
        shown = [opened(send(f"{INSTANCE}/frames/{n}/rendered", accept="image/png").content) for n in (1, 2)]

    assert [picture.shape for picture in shown] == [(1, 6, 3)] * 2
    assert (shown[0] != shown[1]).any()


@pytest.mark.parametrize(("frames", "status"), [("1,4", 404), ("1,,2", 400)])
@pytest.mark.parametrize("what", ["rendered", "thumbnail"])
def test_a_missing_frame_is_404_and_a_malformed_list_is_400(ask: Ask, what: str, frames: str, status: int) -> None:
    assert ask(f"{SERIES}/instances/1.2.3.1.2/frames/{frames}/{what}").status_code == status


def test_a_study_or_series_is_answered_with_its_pictures_in_parts(ask: Ask) -> None:
    for path in (STUDY, SERIES):
        parts = parts_of(ask(f"{path}/rendered"))

        assert [part.headers["content-location"].split("/")[-2] for part in parts] == ["1.2.3.1.1", "1.2.3.1.2"]
        assert {part.headers["content-type"] for part in parts} == {"image/jpeg"}


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/dicomweb/studies/9/rendered", 404, "no-such-study"),
        (f"{STUDY}/series/9/thumbnail", 404, "no-such-series"),
        (f"{SERIES}/instances/9/rendered", 404, "no-such-instance"),
        (f"{STUDY}/series/1.2.x/rendered", 400, "bad-uid"),
        (f"{SERIES}/instances/1.2.3.1.9/rendered", 406, "undecodable-frame"),
        (f"{SERIES}/instances/1.2.3.1.9/thumbnail", 406, "undecodable-frame"),
    ],
)
def test_the_answer_says_why_there_is_no_picture(ask: Ask, path: str, status: int, reason: str) -> None:
    response = ask(path)

    assert (response.status_code, response.json()["reason"]) == (status, reason)


def test_a_picture_that_the_client_has_is_304_and_is_not_rendered_again(ask: Ask) -> None:
    for path in (f"{INSTANCE}/rendered", f"{SERIES}/thumbnail", f"{SERIES}/rendered", f"{INSTANCE}/frames/1/rendered"):
        tag = ask(path).headers["etag"]
        made = API_RENDERED.labels("rendered")._value.get()
        again, other = ask(path, if_none_match=tag), ask(f"{path}?quality=10", if_none_match=tag)

        assert (again.status_code, again.content) == (304, b"")
        assert (other.status_code, other.headers["etag"] == tag) == (200, False)
        assert API_RENDERED.labels("rendered")._value.get() > made


def test_a_picture_that_cannot_be_rendered_is_406_even_with_if_none_match() -> None:
    with archive(BROKEN) as send:
        for what in ("rendered", "thumbnail"):
            assert send(f"{SERIES}/instances/1.2.3.1.9/{what}", if_none_match="*").status_code == 406


@pytest.mark.parametrize("what", ["rendered", "thumbnail", "frames/1/rendered", "frames/1/thumbnail"])
def test_pixels_that_end_before_the_first_frame_does_are_406(what: str) -> None:
    with archive(part10(Rows=512)) as send:
        response = send(f"{INSTANCE}/{what}")

        assert (response.status_code, response.json()["reason"]) == (406, "no-pixels")


@pytest.mark.parametrize("what", ["objects", "queries"])
def test_a_server_that_is_away_is_503_with_retry_after(what: str) -> None:
    with archive(ONE) as send:
        away = send(
            f"{INSTANCE}/rendered", change=lambda world: setattr(getattr(world, what), "outage", Outage.REFUSES)
        )

        assert (away.status_code, int(away.headers["retry-after"]) > 0) == (503, True)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_is_refused(name: str) -> None:
    with archive(HOSTILE[name]) as send:
        response = send(f"{INSTANCE}/rendered")

        assert response.status_code in {404, 406}, response.text


def test_no_process_is_left_when_the_application_ends() -> None:
    before = set(psutil.Process().children())
    with archive(ONE) as send:
        assert send(f"{INSTANCE}/rendered").status_code == 200
        assert len(set(psutil.Process().children()) - before) == 1

    assert set(psutil.Process().children()) <= before
