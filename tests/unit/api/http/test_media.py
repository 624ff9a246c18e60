"""An Accept header is answered with the stored form or refused; nothing is transcoded (PS3.18 8.7)."""

from collections.abc import Callable
from functools import partial

import pytest
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from api.http.media import (
    COMPRESSED,
    DEFAULTS,
    MEDIA_TYPES,
    MEMBERS,
    choose_rendered,
    stored_frames,
    wants_frames_in_parts,
    wants_instances_in_parts,
    wants_value_in_a_part,
)
from operators.catalog.ports import Location
from operators.dicom.transfer_syntaxes import NATIVE
from operators.http.accept import parse_accept
from operators.http.problem import Problem

PICTURES = ("image/jpeg", "image/png", "image/gif")
ANY_SYNTAX = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


def stored(transfer_syntax: str = ExplicitVRLittleEndian) -> Location:
    """Return the location of an instance that is stored in a transfer syntax."""
    return Location("1", "1.1", "1.1.1", "1.2", transfer_syntax, "key", "hot", 1, "", 0, 0, "")


def refusal(choose: Callable[[], object]) -> str:
    """Return the advice with which an Accept header is refused."""
    with pytest.raises(Problem) as refused:
        choose()
    assert (refused.value.status, refused.value.reason) == (406, "not-acceptable")
    return refused.value.advice


# Instances


@pytest.mark.parametrize(
    ("accept", "is_in_parts"),
    [
        ("application/dicom", False),
        ("application/dicom; transfer-syntax=*", False),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", False),
        ("text/html, application/dicom;q=0.3", False),
        ("multipart/related; type=application/dicom, application/dicom;q=0.9", True),
        ('multipart/related;type="application/dicom";q=0.2, application/dicom;q=0.9', False),
        ('multipart/related; type="application/dicom"; transfer-syntax="*"', True),
        ("*/*", True),
        ("multipart/*", True),
    ],
)
def test_an_instance_is_answered_in_the_accepted_form(accept: str, *, is_in_parts: bool) -> None:
    assert wants_instances_in_parts(parse_accept(accept), [stored()]) is is_in_parts


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90",
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2',
        'multipart/related; type="image/jpeg"',
        "application/dicom;q=0",
        "application/json",
        "multipart/mixed",
        "; ; ;",
    ],
)
def test_a_form_that_is_not_stored_is_406_and_the_advice_names_the_stored_form(accept: str) -> None:
    assert refusal(lambda: wants_instances_in_parts(parse_accept(accept), [stored()])) == (
        'accept multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'
        " or application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    )


@pytest.mark.parametrize(
    ("accept", "is_accepted"),
    [
        ("application/dicom", False),
        ("application/dicom, multipart/related;q=0.1", True),
        ("*/*", True),
        ('multipart/related; type="application/dicom"', True),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', True),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1', False),
    ],
)
def test_several_instances_come_only_in_parts_and_only_in_a_form_that_includes_all(
    accept: str,
    *,
    is_accepted: bool,
) -> None:
    both = [stored(), stored(JPEG2000Lossless)]
    if is_accepted:
        assert wants_instances_in_parts(parse_accept(accept), both)
    else:
        assert refusal(lambda: wants_instances_in_parts(parse_accept(accept), both)) == (
            'accept multipart/related; type="application/dicom"; transfer-syntax=*'
        )


# Values


@pytest.mark.parametrize(
    ("accept", "is_in_a_part"),
    [
        ("*/*", False),
        ("application/octet-stream", False),
        ("application/*;q=0.1", False),
        ('multipart/related; type="application/octet-stream"', True),
        ("multipart/related, application/octet-stream;q=0.9", True),
    ],
)
def test_a_value_comes_as_octets(accept: str, *, is_in_a_part: bool) -> None:
    assert wants_value_in_a_part(parse_accept(accept)) is is_in_a_part


@pytest.mark.parametrize(
    "accept", ['multipart/related; type="image/jpeg"', "application/dicom", "application/octet-stream;q=0", ""]
)
def test_a_value_in_another_form_is_406(accept: str) -> None:
    assert refusal(lambda: wants_value_in_a_part(parse_accept(accept))) == (
        'accept application/octet-stream or multipart/related; type="application/octet-stream"'
    )


# Frames


@pytest.mark.parametrize(
    ("transfer_syntax", "is_native", "form"),
    [
        (ExplicitVRLittleEndian, True, ("application/octet-stream", ExplicitVRLittleEndian)),
        (ImplicitVRLittleEndian, True, ("application/octet-stream", ExplicitVRLittleEndian)),
        (DeflatedExplicitVRLittleEndian, True, ("application/octet-stream", ExplicitVRLittleEndian)),
        (ExplicitVRBigEndian, True, ("application/octet-stream", ExplicitVRBigEndian)),
        (JPEGBaseline8Bit, False, ("image/jpeg", JPEGBaseline8Bit)),
        (RLELossless, False, ("image/dicom-rle", RLELossless)),
        ("1.2.840.10008.1.2.4.108", False, ("video/H265", "1.2.840.10008.1.2.4.108")),
        ("1.2.3.4", False, ("application/octet-stream", "1.2.3.4")),
    ],
)
def test_the_form_of_frames_is_named_by_media_type_and_transfer_syntax(
    transfer_syntax: str, *, is_native: bool, form: tuple[str, str]
) -> None:
    assert stored_frames(transfer_syntax, is_native=is_native) == form


def test_the_default_transfer_syntax_of_each_media_type_is_one_of_its_own_and_none_has_two_media_types() -> None:
    assert DEFAULTS.keys() == MEMBERS.keys()
    assert all(DEFAULTS[media_type] in syntaxes for media_type, syntaxes in MEMBERS.items())
    assert len(MEDIA_TYPES) == sum(map(len, MEMBERS.values()))


@pytest.mark.parametrize("media_type", DEFAULTS)
def test_a_media_type_alone_means_its_default_transfer_syntax(media_type: str) -> None:
    ranges = parse_accept(f'multipart/related; type="{media_type}"')
    for syntax in MEMBERS[media_type]:
        if syntax == DEFAULTS[media_type]:
            assert wants_frames_in_parts(ranges, media_type, COMPRESSED + syntax, 1)
        else:
            advice = refusal(partial(wants_frames_in_parts, ranges, media_type, COMPRESSED + syntax, 2))
            assert advice.endswith(f'; type="{media_type}"; transfer-syntax={COMPRESSED}{syntax}')


@pytest.mark.parametrize(
    ("transfer_syntax", "accept", "is_accepted"),
    [
        (JPEG2000Lossless, 'multipart/related; type="image/jp2"', True),
        (JPEG2000Lossless, 'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90', True),
        (JPEG2000Lossless, 'multipart/related; type="image/*"', True),
        (JPEG2000Lossless, "*/*", True),
        (JPEG2000Lossless, "image/jp2", False),
        (JPEG2000Lossless, 'multipart/related; type="application/octet-stream"', False),
        (JPEG2000Lossless, 'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.91', False),
        (JPEG2000Lossless, 'multipart/related; type="image/jpeg"', False),
        (JPEG2000Lossless, ANY_SYNTAX, True),
        (JPEG2000, 'multipart/related; type="image/jp2"', False),
        (ExplicitVRLittleEndian, 'multipart/related; type="application/octet-stream"', True),
        (ExplicitVRLittleEndian, ANY_SYNTAX, True),
        (ExplicitVRLittleEndian, 'multipart/related; type="image/jp2"', False),
        (ExplicitVRBigEndian, 'multipart/related; type="application/octet-stream"', False),
        (ExplicitVRBigEndian, ANY_SYNTAX, True),
        (JPEGBaseline8Bit, 'multipart/related; type="image/jpeg"', False),
        (JPEGBaseline8Bit, 'multipart/related; type="image/*"', True),
        (JPEGBaseline8Bit, 'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50', True),
        (JPEGLosslessSV1, 'multipart/related; type="image/jpeg"', True),
        (RLELossless, 'multipart/related; type="image/dicom-rle"', True),
    ],
)
def test_frames_come_as_stored_or_not_at_all(transfer_syntax: str, accept: str, *, is_accepted: bool) -> None:
    media_type, syntax = stored_frames(transfer_syntax, is_native=transfer_syntax in NATIVE)
    ranges = parse_accept(accept)
    if is_accepted:
        assert wants_frames_in_parts(ranges, media_type, syntax, 2)
    else:
        assert f"transfer-syntax={syntax}" in refusal(lambda: wants_frames_in_parts(ranges, media_type, syntax, 2))


@pytest.mark.parametrize(
    ("accept", "is_in_parts"),
    [
        ("image/jp2", False),
        ("image/jp2; transfer-syntax=*", False),
        ("application/octet-stream; transfer-syntax=*", False),
        ("*/*", True),
        ("image/jp2;q=0.5, multipart/related", True),
    ],
)
def test_one_frame_comes_alone_when_the_client_asks_for_that(accept: str, *, is_in_parts: bool) -> None:
    assert wants_frames_in_parts(parse_accept(accept), "image/jp2", JPEG2000Lossless, 1) is is_in_parts


# Pictures


@pytest.mark.parametrize(
    ("accept", "count", "media_type", "is_in_parts"),
    [
        ("*/*", 1, "image/jpeg", False),
        ("image/*", 1, "image/jpeg", False),
        ("image/png", 1, "image/png", False),
        ("image/gif", 1, "image/gif", False),
        ("image/jpeg;q=0.5, image/png", 1, "image/png", False),
        ("image/avif,image/webp,*/*;q=0.8", 1, "image/jpeg", False),
        ("multipart/related; type=image/png", 1, "image/png", True),
        ("*/*", 2, "image/jpeg", True),
        ("*/*, image/jpeg;q=0", 2, "image/png", True),
        ("image/png, multipart/related; type=image/gif", 2, "image/gif", True),
    ],
)
def test_pictures_have_the_media_type_that_is_accepted_first(
    accept: str,
    count: int,
    media_type: str,
    *,
    is_in_parts: bool,
) -> None:
    assert choose_rendered(parse_accept(accept), PICTURES, count) == (media_type, is_in_parts)


@pytest.mark.parametrize(
    ("accept", "count"),
    [
        ("image/jp2", 1),
        ("application/dicom", 1),
        ("image/jpeg;q=0", 1),
        ("text/html", 1),
        ("image/jpeg", 2),
        ("image/*", 2),
    ],
)
def test_a_media_type_that_is_not_offered_is_406_and_those_offered_are_named(accept: str, count: int) -> None:
    in_parts = " or ".join(f'multipart/related; type="{media_type}"' for media_type in PICTURES)
    alone = "image/jpeg or image/png or image/gif or " if count == 1 else ""

    assert refusal(lambda: choose_rendered(parse_accept(accept), PICTURES, count)) == f"accept {alone}{in_parts}"
