"""A store request is read from its address and headers, and refused at once when no answer could be given to it."""

import time
from typing import Any

import pytest

from gateway.stow.request import StoreRequest, study_in
from operators.access.principal import Principal
from operators.http.principal import RequestHead
from operators.http.problem import Problem
from tests.support.worlds.stow import PARTS

PRINCIPAL = Principal("local", "loopback", "peer address")


def request_of(
    *headers: tuple[str, str],
    path: str = "/dicomweb/studies",
    query: str = "",
    scheme: str = "http",
    host: str = "localhost:8060",
) -> StoreRequest:
    """Read a request with these headers; its content type is multipart unless they have another."""
    given = dict(headers)
    said = [("host", host), *([] if "content-type" in given else [("content-type", PARTS)]), *headers]
    scope: dict[str, Any] = {
        "path": path,
        "query_string": query.encode(),
        "scheme": scheme,
        "http_version": "1.1",
        "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in said],
    }
    return StoreRequest.of(scope, RequestHead.of(scope), PRINCIPAL)


def refusal_of(*headers: tuple[str, str], path: str = "/dicomweb/studies") -> tuple[int, str]:
    with pytest.raises(Problem) as caught:
        request_of(*headers, path=path)
    return caught.value.status, caught.value.reason


def test_a_plain_request_is_for_any_study_and_answered_in_json() -> None:
    assert request_of() == StoreRequest(
        principal=PRINCIPAL,
        study="",
        boundary="BOUNDARY",
        length=None,
        media_type="application/dicom+json",
        base="http://localhost:8060/dicomweb",
        address="127.0.0.1",
    )


@pytest.mark.parametrize(
    ("path", "study"),
    [
        ("/dicomweb/studies", ""),
        ("/dicomweb/studies/1.2.3", "1.2.3"),
        ("/dicomweb/studies/..", ".."),
        ("/dicomweb/studies/", None),
        ("/dicomweb/studies/1.2.3/", None),
        ("/dicomweb/studies/1.2.3/series", None),
        ("/dicomweb/studies//", None),
        ("/dicomweb/studiesx", None),
        ("/dicomweb/series", None),
        ("/dicomweb", None),
        ("/studies/1.2.3", None),
        ("", None),
    ],
)
def test_only_addresses_of_studies_are_for_store_requests(path: str, study: str | None) -> None:
    assert study_in(path) == study


@pytest.mark.parametrize("study", ["1.2.3", "1", "1.2.03", "1." + "2" * 62])
def test_the_study_in_the_address_is_the_only_one_that_is_stored(study: str) -> None:
    assert request_of(path=f"/dicomweb/studies/{study}").study == study


@pytest.mark.parametrize("study", ["1.2.x", "1.", ".1", "1..2", "1.2\n", " 1.2", "..", "1." + "2" * 63, "\u0661.2"])
def test_a_study_that_is_no_uid_is_refused(study: str) -> None:
    assert refusal_of(path=f"/dicomweb/studies/{study}") == (400, "bad-uid")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/json", "application/json"),
        ("text/xml", "text/xml"),
        ("application/xml", "application/xml"),
        ("application/dicom+json;q=0, application/json;q=0, */*", "application/dicom+xml"),
        ("application/dicom+json;q=0.5, application/dicom+xml", "application/dicom+xml"),
        ("application/dicom+xml;q=0, */*;q=0.1", "application/dicom+json"),
        ("text/html, */*;q=0.1", "application/dicom+json"),
    ],
)
def test_accept_chooses_the_media_type_of_the_response(accept: str, media_type: str) -> None:
    assert request_of(("accept", accept)).media_type == media_type


def test_the_query_parameter_accept_goes_before_the_header() -> None:
    request = request_of(("accept", "application/json"), query="accept=application/dicom%2Bxml")

    assert request.media_type == "application/dicom+xml"


def test_a_hostile_accept_is_refused_at_once() -> None:
    began = time.process_time()

    assert refusal_of(("accept", '"' + '\\"' * 100_000)) == (406, "not-acceptable")
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("application/dicom", None),
        ("Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1", None),
        ("multipart/related; type=application/dicom; boundary=B", "B"),
        ('Multipart/Related; boundary="B b"; Type="Application/Dicom"', "B b"),
        ("multipart/related; boundary=B", "B"),
        ("multipart/related; type=application/dicom", ""),
    ],
)
def test_a_body_is_a_single_instance_or_has_the_boundary_of_its_content_type(
    content_type: str, boundary: str | None
) -> None:
    assert request_of(("content-type", content_type)).boundary == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "dicom",
        "text/plain",
        "application/dicom+json",
        "multipart/form-data; boundary=B",
        "multipart/related; type=application/dicom+json; boundary=B",
        "multipart/related; boundary=B; boundary=C",
        "multipart/related; boundary=B b",
    ],
)
def test_a_body_of_another_media_type_is_refused(content_type: str) -> None:
    assert refusal_of(("content-type", content_type)) == (415, "media-type")


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_a_body_that_is_not_encoded_is_read(encoding: str) -> None:
    assert request_of(("content-encoding", encoding)) == request_of()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity, gzip", "x"])
def test_an_encoded_body_is_refused(encoding: str) -> None:
    assert refusal_of(("content-encoding", encoding)) == (415, "content-encoding")


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("0", 0),
        ("12", 12),
        ("0012", 12),
        ("9" * 5000, 10**20 - 1),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        ("1e3", None),
        ("12x", None),
        ("1_000", None),
        ("\u00b2", None),
    ],
)
def test_a_content_length_is_a_number_of_which_twenty_digits_are_read(text: str, length: int | None) -> None:
    assert request_of(("content-length", text)).length == length


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("content-type", ["application/dicom", "text/plain"]),
        ("content-length", ["1", "1"]),
        ("content-encoding", ["", "gzip"]),
    ],
)
def test_a_header_that_describes_the_body_twice_is_refused(name: str, values: list[str]) -> None:
    assert refusal_of(*((name, value) for value in values)) == (400, "header-twice")


@pytest.mark.parametrize(("scheme", "host"), [("http", "localhost:8060"), ("https", "127.0.0.1")])
def test_the_address_of_the_service_is_the_one_that_the_client_used(scheme: str, host: str) -> None:
    assert request_of(host=host, scheme=scheme, path="/dicomweb/studies/1.2.3").base == f"{scheme}://{host}/dicomweb"
