"""The signature of an S3 request (AWS Signature Version 4) whose payload is not signed.

minio-py's signer, the oracle of the tests, takes four times the CPU: it derives the day's key for every request.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

UNSIGNED = "UNSIGNED-PAYLOAD"
ALGORITHM = "AWS4-HMAC-SHA256"


def signed(  # noqa: PLR0913 (what a signature covers, and who signs)
    method: str,
    host: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    now: datetime,
    region: str,
    access_key: str,
    secret_key: str,
) -> dict[str, str]:
    """Return the headers with the signature over all of them beside them.

    Path and query are percent-encoded, the query's parameters and nothing else in order; header names are in lower
    case, their values without spaces to fold.
    """
    moment = f"{now:%Y%m%dT%H%M%SZ}"
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    every = {**headers, "host": host, "x-amz-content-sha256": UNSIGNED, "x-amz-date": moment}
    names = sorted(every)
    lines = "".join([f"{name}:{every[name]}\n" for name in names])
    request = f"{method}\n{path}\n{query}\n{lines}\n{';'.join(names)}\n{UNSIGNED}"
    text = f"{ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_key(secret_key, moment[:8], region), text.encode(), "sha256").hex()
    said = f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return {**every, "authorization": said}


@lru_cache(maxsize=4)
def _key(secret_key: str, day: str, region: str) -> bytes:
    """Return the key of a day."""
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
