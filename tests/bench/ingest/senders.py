"""Two kinds of senders: dcmtk's storescu, a process for each association, and STOW-RS clients in threads."""

import http.client
import os
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

from tests.bench.archives import Archive
from tests.bench.ingest.loads import Load, Sample
from tests.support.machine.debian_tools import Programs
from tests.support.senders.stow import CONTENT_TYPE, HEAD, TAIL

SENDER_S = 300.0


class NotStored(RuntimeError):
    """An archive did not store what it was sent."""


def storescu(programs: Programs, archive: Archive, load: Load) -> list[float]:
    """Send each share over one association; no time of a single answer is known."""
    environment = os.environ | programs.environment
    commands = [store_command(programs, archive, share) for share in load.shares]
    senders = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for command in commands]
    try:
        failed = [sender.wait(SENDER_S) for sender in senders]
    finally:
        for sender in senders:
            sender.kill()
    if any(failed):
        raise NotStored(f"{archive.name}: storescu ended with {failed}")
    return []


def store_command(programs: Programs, archive: Archive, share: Sequence[Sample]) -> list[str]:
    """Return the command of one sender."""
    options, peer = ("--scan-directories", "--recurse", "-aec", archive.peer.ae_title), archive.peer
    folders = sorted({sample.path.parent for sample in share})
    return programs.command("storescu", *options, peer.host, peer.port, *folders)


def stow(archive: Archive, load: Load) -> list[float]:
    """Send each share over one connection, an instance a request; return the seconds of each answer."""
    with ThreadPoolExecutor(len(load.shares)) as pool:
        return [seconds for times in pool.map(partial(post_all, archive), load.shares) for seconds in times]


def post_all(archive: Archive, share: Sequence[Sample]) -> list[float]:
    """Send instances one after the other; return the seconds of each answer."""
    origin = urlsplit(archive.dicomweb)
    connection = http.client.HTTPConnection(origin.netloc, timeout=SENDER_S)
    try:
        return [post(connection, f"{origin.path}/studies", sample.path.read_bytes()) for sample in share]
    finally:
        connection.close()


def post(connection: http.client.HTTPConnection, path: str, file: bytes) -> float:
    """Store one file; return the seconds to the answer."""
    began = time.monotonic()
    headers = {"Content-Type": CONTENT_TYPE, "Accept": "application/dicom+json"}
    connection.request("POST", path, b"".join((HEAD, file, b"\r\n", TAIL)), headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.client.OK:
        raise NotStored(f"STOW-RS was answered with {answer.status}")
    return time.monotonic() - began
