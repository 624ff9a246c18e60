"""Requests have the same signature as minio-py's, which stores are known to accept."""

from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from operators.connectors.s3.signature import Signer

NAMES = st.sampled_from(["x-amz-meta-stored-at", "x-amz-meta-z", "range", "if-none-match", "content-length"])
VALUES = st.text("abcXYZ019-_.:=%*", min_size=1, max_size=30)


@given(
    st.sampled_from(["PUT", "GET", "HEAD", "DELETE"]),
    st.text(min_size=1, max_size=20),
    st.dictionaries(st.sampled_from(["list-type", "prefix", "continuation-token"]), st.text(max_size=20)),
    st.dictionaries(NAMES, VALUES),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - given a zone below
)
def test_a_request_has_the_signature_that_minios_own_client_would_send(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], moment: datetime
) -> None:
    now = moment.replace(tzinfo=UTC)
    encoded = urlencode(sorted(query.items()), quote_via=quote)
    url = urlsplit("http://127.0.0.1:9000")._replace(path="/" + quote(key, errors="replace"), query=encoded)

    ours = Signer("eu", access_key="a", secret_key="s").signed(method, url, headers, now)

    theirs = sign_v4_s3(
        method=method,
        url=url,
        region="eu",
        headers={name: value for name, value in ours.items() if name != "authorization"},
        credentials=Credentials("a", "s"),
        content_sha256="UNSIGNED-PAYLOAD",
        date=now,
    )
    assert ours["authorization"] == theirs["Authorization"]
