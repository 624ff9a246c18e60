"""The failures and the refusals of an object store, as errors that name its address and the cause."""

import re
import ssl
from http import HTTPStatus
from types import TracebackType
from xml.etree import ElementTree as ET

from aiohttp import ClientError, ClientPayloadError, ClientResponse, ClientResponseError

from operators.connectors.s3.wire import BrokenOff, HttpResponse
from operators.errors import Unavailable, Unreadable

FAILURES = (ClientError, TimeoutError, OSError, EOFError, ET.ParseError)
# What a status means where the store sends no code of S3's, as in the answer to a HEAD.
MEANINGS = {
    HTTPStatus.MOVED_PERMANENTLY: "the bucket is in another region",
    HTTPStatus.FORBIDDEN: "access key or secret key is wrong, or the key may not do this",
    HTTPStatus.NOT_FOUND: "there is no such bucket",
}
CODE = re.compile(rb"<Code>(\w{1,64})</Code>")
# The header in which MinIO sends the code too.
CODE_HEADER = "x-minio-error-code"


class StoreAnswers:
    """A context that raises every failure of the HTTP clients as Unavailable, and the checks of a store's answers."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, ClientPayloadError | BrokenOff):
            raise Unreadable("store-broke-off", self._line("the answer broke off")) from error
        if isinstance(error, FAILURES):
            raise Unavailable("store", self._line(cause(error))) from error

    def expect(self, response: ClientResponse | HttpResponse, *wanted: HTTPStatus, asked: str = "") -> None:
        """Raise Unavailable for another status; `asked` says what was asked, if the response does not know it."""
        if response.status not in wanted:
            raise Unavailable(f"store-{response.status}", self._line((asked or question(response)) + refusal(response)))

    def expect_readable(self, response: ClientResponse | HttpResponse, *wanted: HTTPStatus, asked: str = "") -> None:
        """Raise Unavailable for another status, and Unreadable for one that may be of a damaged object."""
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            line = self._line((asked or question(response)) + refusal(response))
            raise Unreadable(f"store-{response.status}", line)
        self.expect(response, *wanted, asked=asked)

    def expect_stored(self, response: HttpResponse, bucket: str, crc32c: str) -> None:
        """Raise Unavailable unless the store confirms that it has the bytes of this checksum."""
        self.expect(response, HTTPStatus.OK, asked=f"PUT in {bucket}: ")
        if response.headers.get("x-amz-checksum-crc32c") != crc32c:
            raise Unavailable("store-checksum", self._line("it has not stored the bytes that were sent"))

    def _line(self, text: str) -> str:
        return f"{self._endpoint}: {text}"


def cause(error: BaseException) -> str:
    """Return the cause of a failed request in a few words; never a URL, whose key has UIDs."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {inner.verify_message}"
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    if isinstance(inner, ClientResponseError):
        return "its answer is not HTTP: perhaps its endpoint begins with https"
    return (inner.strerror if isinstance(inner, OSError) else None) or type(inner).__name__


def question(response: ClientResponse | HttpResponse) -> str:
    """Return what was asked, and in which bucket, such as "PUT in fluoro-hot: "; never a key, which has UIDs."""
    if isinstance(response, HttpResponse):
        return ""
    _, bucket, *_ = response.url.path.split("/")
    return f"{response.method} in {bucket}{'?lifecycle' if 'lifecycle' in response.url.query else ''}: "


def refusal(response: ClientResponse | HttpResponse) -> str:
    """Return the status of an answer, and what it means: the store's own code if it sent one."""
    status = HTTPStatus(response.status) if response.status in set(HTTPStatus) else None
    found = CODE.search(response.body) if isinstance(response, HttpResponse) else None
    code = found[1].decode() if found else response.headers.get(CODE_HEADER, "")
    told = MEANINGS.get(status) if status else None
    return " ".join(
        [str(response.status), *([f"{code}:"] if code and told else [code] if code else []), told or ""]
    ).strip()
