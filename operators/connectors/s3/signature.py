"""The signature of an S3 request (AWS Signature Version 4) whose payload is not signed.

minio-py's signer, which the tests compare with, takes four times the CPU: it derives the day's key for every request.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from urllib.parse import SplitResult

UNSIGNED = "UNSIGNED-PAYLOAD"
ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Signer:
    """The access key and the region that requests are signed for."""

    region: str
    access_key: str
    secret_key: str = field(repr=False)

    def signed(self, method: str, url: SplitResult, headers: Mapping[str, str], now: datetime) -> dict[str, str]:
        """Return the headers to send: `headers`, the headers that a signature needs, and `authorization`.

        The caller must have percent-encoded the URL's path and query and sorted the query's parameters. Header names
        must be in lower case, and header values without repeated spaces.
        """
        # strftime takes seven times as long.
        moment = now.isoformat(timespec="seconds")[:19].replace("-", "").replace(":", "") + "Z"
        day = moment[:8]
        scope = f"{day}/{self.region}/s3/aws4_request"
        every = {**headers, "host": url.netloc, "x-amz-content-sha256": UNSIGNED, "x-amz-date": moment}
        request, names = _canonical_request(method, url, every), ";".join(sorted(every))
        text = f"{ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = _keyed(self.secret_key, day, self.region).copy()
        signature.update(text.encode())
        credential = f"Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature.hexdigest()}"
        return {**every, "authorization": f"{ALGORITHM} {credential}"}


def _canonical_request(method: str, url: SplitResult, headers: Mapping[str, str]) -> str:
    names = sorted(headers)
    lines = "".join([f"{name}:{headers[name]}\n" for name in names])
    return f"{method}\n{url.path}\n{url.query}\n{lines}\n{';'.join(names)}\n{UNSIGNED}"


@lru_cache(maxsize=4)
def _keyed(secret_key: str, day: str, region: str) -> hmac.HMAC:
    """Return the HMAC of nothing with the signing key of a day, to be copied: all requests of the day have this key."""
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, digestmod="sha256")
