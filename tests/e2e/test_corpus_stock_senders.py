"""What dcmtk's senders send of the corpus is stored byte for byte as dcmtk's own receiver stores it."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.objects import Bucket
from tests.audit.part10 import Meta, read_meta
from tests.support.data.outcomes import corpus_files
from tests.support.machine.debian_tools import Programs
from tests.support.senders.files import data_hash
from tests.support.senders.sender import Peer
from tests.support.worlds.memory_archive import memory_archive

START_S = 10.0
# The transfer syntaxes that dcmtk's receiver does not accept, so that the sender decompresses and dcmsend makes another
# instance: deflated, and JPEG processes that are retired.
NOT_ACCEPTED = {
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.53",
    "1.2.840.10008.1.2.4.55",
    "1.2.840.10008.1.2.4.57",
}


# The SOP class that dcmtk reads where that element has VR UN: dcmtk names it in a command of another class's context,
# and is refused with 0122.
MISREAD = {"31"}


@dataclass(frozen=True)
class SendReport:
    """The report of a sender: how many files got an answer, and how many it did not send."""

    sent: int
    refused: int


def storescu(programs: Programs, peer: Peer, files: Iterable[Path]) -> SendReport:
    """Send with storescu, which reports on each file."""
    done = programs.run("storescu", "-v", "--no-halt", "-aec", peer.ae_title, peer.host, peer.port, *files)
    each = (done.stdout + done.stderr).split("Sending file:")[1:]
    answered = sum("Received Store Response" in one for one in each)
    refused = sum("Received Store Response" not in one and "E: " in one for one in each)
    return SendReport(answered, refused)


def dcmsend(programs: Programs, peer: Peer, files: Iterable[Path]) -> SendReport:
    """Send with dcmsend, which leaves out files that it cannot read and sums up the rest."""
    done = programs.run("dcmsend", "-v", "--no-halt", "-aec", peer.ae_title, peer.host, peer.port, *files)
    said = done.stdout + done.stderr
    unread = said.count("cannot add DICOM file to the transfer list")
    sent, unsent = (int(found) for found in re.findall(r"- (?:sent|NOT sent) to the peer\s+: (\d+)", said))
    return SendReport(sent, unread + unsent)


# The file meta of everything that was accepted, by the hash of its content.
Contents = dict[str, Meta]


def received(programs: Programs, folder: Path, send: Callable[[Peer], SendReport]) -> tuple[Contents, int]:
    """Return what dcmtk's receiver stored, and how many files it overwrote: it names files by the millisecond."""
    with storescp(programs, folder) as peer:
        said = send(peer)
    files = [content_of(path.read_bytes()) for path in folder.iterdir()]
    return dict(files), said.sent - len(files)


@contextmanager
def storescp(programs: Programs, folder: Path) -> Iterator[Peer]:
    """Run dcmtk's receiver for the block: it accepts every class that it knows and writes data sets unchanged."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    options = ("--bit-preserving", "--timenames", "+xa", "--promiscuous", "--output-directory", folder, port)
    command = programs.command("storescp", *options)
    environment = os.environ | programs.environment
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            wait_for(port)
            yield Peer(port)
        finally:
            process.terminate()


def wait_for(port: int) -> None:
    """Return when a server listens on this port."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("storescp does not start")


def content_of(whole: bytes) -> tuple[str, Meta]:
    meta = read_meta(whole)
    return data_hash(meta.transfer_syntax, memoryview(whole)[meta.length :]), meta


def stored(folder: Path, send: Callable[[Peer], SendReport]) -> tuple[SendReport, Contents, set[str]]:
    """Send to an empty archive; return the sender's report, what was stored, and the hashes of what was quarantined."""
    with memory_archive(folder) as archive:
        said = send(archive.peer)
        held = archive.world.objects.objects.items()
        return (
            said,
            dict(content_of(one.data) for (bucket, _), one in held if bucket is Bucket.HOT),
            {key.split("/")[1] for bucket, key in archive.world.objects.objects if bucket is Bucket.QUARANTINE},
        )


SENDERS: dict[str, Callable[[Programs, Peer, Iterable[Path]], SendReport]] = {"storescu": storescu, "dcmsend": dcmsend}


@pytest.mark.parametrize("program", SENDERS)
def test_what_a_stock_sender_sends_is_stored_as_its_own_receiver_stores_it(
    program: str, dcmtk: Programs, corpus: Path, tmp_path: Path
) -> None:
    files = corpus_files(corpus)
    (tmp_path / "theirs").mkdir()

    def send(peer: Peer) -> SendReport:
        return SENDERS[program](dcmtk, peer, files.values())

    said, ours, quarantined = stored(tmp_path / "ours", send)
    theirs, overwritten = received(dcmtk, tmp_path / "theirs", send)

    assert said.sent + said.refused == len(files)
    ours_alone = [meta.transfer_syntax for digest, meta in ours.items() if digest not in theirs]
    assert len([syntax for syntax in ours_alone if syntax not in NOT_ACCEPTED]) <= overwritten
    missing = {meta for digest, meta in theirs.items() if digest not in ours and digest not in quarantined}
    assert {one for one in missing if one.sop_class.startswith("1.")} <= {
        meta for meta in theirs.values() if meta.sop_uid in {one.sop_uid for one in ours.values()}
    }
    assert {one.sop_class for one in missing if not one.sop_class.startswith("1.")} <= MISREAD
