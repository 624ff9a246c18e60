"""The auditor: says whether an archive kept every promise that a sender's ledger holds.

    python -m tests.audit.auditor --api http://127.0.0.1:8060 --dimse-ledger sent.jsonl --logs FOLDER

Where the stores are is read from FLUORO_STORE_*, FLUORO_BROKER_* and FLUORO_CATALOG_*. It only reads, so it may be
killed and started again. Prints one line; exit status 0 when nothing is wrong, 1 when something is.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psycopg
import urllib3
from confluent_kafka import KafkaException
from minio import S3Error

from tests.audit.collect import Eyes, Place, eyes
from tests.audit.judge import Verdict, judge

AGAIN_S = 1.0
# What a store that is just being restarted raises: look again until the bound.
NOT_NOW = (
    httpx.HTTPError,
    urllib3.exceptions.HTTPError,
    S3Error,
    psycopg.OperationalError,
    KafkaException,
    TimeoutError,
    OSError,
)


def audit(
    place: Place, ledgers: Sequence[Path], *, wait_s: float = 0, hashed: int | None = None, fetched: int = 200
) -> Verdict:
    """Look until nothing is wrong or the bound is over, then once more, reading the bytes."""
    until = time.monotonic() + wait_s
    with eyes(place, ledgers) as open_eyes:
        while time.monotonic() < until and not calm(open_eyes):
            time.sleep(AGAIN_S)
        return judge(open_eyes.look(hashed=hashed, fetched=fetched))


def calm(eyes: Eyes) -> bool:
    """Say whether, bytes aside, nothing is wrong now."""
    try:
        return judge(eyes.look()).clean
    except NOT_NOW:
        return False


def main() -> None:
    """Audit from the command line."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("--api", default="http://127.0.0.1:8060", help="the read API's origin")
    wanted.add_argument("--dimse-ledger", type=Path, action="append", default=[], metavar="FILE")
    wanted.add_argument("--logs", type=Path, action="append", default=[], metavar="DIR")
    wanted.add_argument("--metrics", action="append", default=[], metavar="URL", help="beside the API's own")
    wanted.add_argument("--tenant", default="local", help="whom the API shows to this machine")
    wanted.add_argument("--wait", type=float, default=0, help="seconds in which things may still settle")
    wanted.add_argument("--hash", type=int, help="objects to read whole (default all)")
    wanted.add_argument("--wado", type=int, default=200, help="instances to retrieve (default 200)")
    wanted.add_argument("--out", type=Path, help="file for the sets as JSON")
    given = wanted.parse_args()
    place = Place(os.environ, given.api, tuple(given.logs), tuple(given.metrics), given.tenant)
    verdict = audit(place, given.dimse_ledger, wait_s=given.wait, hashed=given.hash, fetched=given.wado)
    if given.out:
        given.out.write_text(json.dumps(verdict.to_json(), indent=1))
    sys.stdout.write(f"{verdict.line}\n")
    sys.exit(0 if verdict.clean else 1)


if __name__ == "__main__":
    main()
