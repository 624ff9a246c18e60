"""A store that fails or refuses is named with its address and the cause, and never with an object's key."""

import ssl

import pytest

from operators.connectors.s3.answers import StoreAnswers
from operators.connectors.s3.wire import HttpResponse
from operators.errors import Unavailable

STORE = "https://store:9000"


def not_trusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (not_trusted(), "its certificate is not trusted: self-signed certificate"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError("1.2.840.1 of local"), "ConnectionResetError"),
    ],
)
def test_a_failure_names_the_store_and_the_cause(error: Exception, why: str) -> None:
    with pytest.raises(Unavailable) as caught, StoreAnswers(STORE):
        raise error

    assert (caught.value.what, caught.value.why) == ("store", f"{STORE}: {why}")


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (HttpResponse(503, {}, is_kept=False), "503"),
        (HttpResponse(403, {}, is_kept=False), "403 access key or secret key is wrong, or the key may not do this"),
        (
            HttpResponse(403, {}, is_kept=True, body=b"<Error><Code>SignatureDoesNotMatch</Code><Key>k</Key></Error>"),
            "403 SignatureDoesNotMatch: access key or secret key is wrong, or the key may not do this",
        ),
        (HttpResponse(503, {"x-minio-error-code": "SlowDown"}, is_kept=True), "503 SlowDown"),
    ],
)
def test_a_refusal_names_the_store_and_its_reason(response: HttpResponse, why: str) -> None:
    with pytest.raises(Unavailable) as caught:
        StoreAnswers(STORE).expect(response)

    assert (caught.value.what, caught.value.why) == (f"store-{response.status}", f"{STORE}: {why}")


def test_a_refused_object_names_its_bucket() -> None:
    with pytest.raises(Unavailable) as caught:
        StoreAnswers(STORE).expect_stored(HttpResponse(404, {}, is_kept=True), "clinic-hot", "")

    assert caught.value.why == f"{STORE}: PUT in clinic-hot: 404 there is no such bucket"
