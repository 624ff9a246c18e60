"""The auditor: checks that an archive keeps everything that it acknowledged, as the ledgers of its senders record it.

    python -m tests.audit.auditor --api http://127.0.0.1:8060 --dimse-ledger sent.jsonl --logs FOLDER

The addresses of the stores come from FLUORO_STORE_*, FLUORO_BROKER_* and FLUORO_CATALOG_*. The auditor only reads, so it
may be killed and started again. Prints one line, and on standard error the seconds of each part. Exit status: 0 nothing
is wrong, 1 something is, 2 wrong arguments, or a server or a file that cannot be read, 130 stopped by Ctrl-C.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import urllib3
from confluent_kafka import KafkaException
from minio import S3Error

from tests.audit.address import ArchiveAddress
from tests.audit.collect.contents import KnownContents
from tests.audit.judge import Verdict, judge
from tests.audit.observer import Observer, observing
from tests.audit.snapshot import Snapshot

AGAIN_S = 1.0
# What the client of a store that is being restarted raises: try again until the time is over.
RESTARTING = (
    httpx.HTTPError,
    urllib3.exceptions.HTTPError,
    S3Error,
    psycopg.OperationalError,
    KafkaException,
    TimeoutError,
    OSError,
)


def audit(  # noqa: PLR0913  the options of an audit
    address: ArchiveAddress,
    ledgers: Sequence[Path],
    *,
    wait_s: float = 0,
    hashed: int | None = None,
    fetched: int = 200,
    restored: bool = False,
    known: KnownContents | None = None,
) -> Verdict:
    """Observe the archive until nothing is wrong or `wait_s` are over, then once more, reading the bytes.

    With `restored`, announcements of revisions that a restored backup of the database has lost are not wrong. Objects in
    `known` are not read again; it is empty afterwards.
    """
    until, known = time.monotonic() + wait_s, known or KnownContents()
    with observing(address, ledgers, restored=restored, known=known) as observer:
        while (began := time.monotonic()) < until and not is_clean_now(observer):
            # A look at a large archive takes seconds of CPU, which the archive needs to become clean.
            time.sleep(max(AGAIN_S, time.monotonic() - began))
        snapshot = with_bytes(observer, until, hashed, fetched)
        with observer.timed("judging"):
            verdict = judge(snapshot)
        known.forget()
        return replace(verdict, seconds={part: round(seconds, 1) for part, seconds in observer.seconds.items()})


def is_clean_now(observer: Observer) -> bool:
    """True if nothing is wrong, as far as can be seen without reading the bytes of objects."""
    try:
        return judge(observer.snapshot()).clean
    except RESTARTING:
        return False


def with_bytes(observer: Observer, until: float, hashed: int | None, fetched: int) -> Snapshot:
    """Return what is in the archive, with the bytes of objects; a server that gives no answer is asked again until `until`."""
    while True:
        try:
            return observer.snapshot(hashed=hashed, fetched=fetched)
        except RESTARTING:
            if time.monotonic() > until:
                raise
            time.sleep(AGAIN_S)


def main() -> None:
    """Audit from the command line; what keeps it from that is a line, since 1 would say that the archive is wrong."""
    try:
        sys.exit(audited())
    except (*RESTARTING, ValueError) as error:
        sys.stderr.write(f"not audited: {type(error).__name__}: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing is said about the archive\n")
        sys.exit(130)


def audited() -> int:
    """Audit as the arguments say; return the exit status."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("--api", default="http://127.0.0.1:8060", help="the read API's origin")
    wanted.add_argument("--dimse-ledger", type=Path, action="append", default=[], metavar="FILE")
    wanted.add_argument("--logs", type=Path, action="append", default=[], metavar="DIR")
    wanted.add_argument("--metrics", action="append", default=[], metavar="URL", help="besides the API's own")
    wanted.add_argument("--tenant", default="local", help="the tenant that the API shows to this machine")
    wanted.add_argument("--wait", type=float, default=0, help="seconds to wait until nothing is wrong")
    wanted.add_argument("--hash", type=int, help="objects to read whole (default all)")
    wanted.add_argument("--wado", type=int, default=200, help="instances to retrieve (default 200)")
    wanted.add_argument("--restored", action="store_true", help="the catalog's database was restored from a backup")
    wanted.add_argument("--out", type=Path, help="file for the findings as JSON")
    resume = "file of what was read so far: an auditor that is killed and started again does not read it twice"
    wanted.add_argument("--resume", type=Path, metavar="FILE", help=resume)
    given = wanted.parse_args()
    address = ArchiveAddress(os.environ, given.api, tuple(given.logs), tuple(given.metrics), given.tenant)
    how = {"wait_s": given.wait, "hashed": given.hash, "fetched": given.wado, "restored": given.restored}
    verdict = audit(address, given.dimse_ledger, **how, known=KnownContents(given.resume))
    if given.out:
        given.out.write_text(json.dumps(verdict.to_json() | {"most_mb": most_memory_mb()}, indent=1))
    sys.stderr.write(f"seconds: {', '.join(f'{part} {took}' for part, took in verdict.seconds.items())}\n")
    sys.stdout.write(f"{verdict.line}\n")
    return 0 if verdict.clean else 1


def most_memory_mb() -> float:
    """Return the most resident memory that this process has had; what wait4(2) says has that of its parent, too."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
