"""Show the whole way of a study: `python -m deploy.demo [--once] [--study FOLDER]`.

Uses the stack that runs, or starts one; sends the folder, or a CT that it
makes, with pynetdicom's storescu; shows each step and checks it. With --once
it ends there, with status 0 only when all of it held.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from deploy.demo import dicomweb
from deploy.errors import Failed
from deploy.install.disk import MB
from deploy.local import data_folder, running
from deploy.local.data_folder import DataFolder
from deploy.local.report import addresses, dicomweb_url, memory, say
from deploy.local.running import RunningStack
from deploy.local.stack import Stack
from deploy.local.supervision import processes
from deploy.local.supervision.processes import Process

SLICES = 100
QUERYABLE_S = 30.0
POLL_S = 0.05
BYTE_BITS = 8
# What storescu says of each answer; success, or stored with a warning (PS3.4 B.2.3).
STATUS = re.compile(r"Received Store Response \(Status: 0x([0-9A-F]{4})")
STORED = re.compile("0000|B[0-9A-F]{3}")
# A file meta group and its preamble end where the data set begins (PS3.10 7.1).
META_LENGTH = slice(140, 144)


@dataclass(frozen=True)
class Sent:
    """One file of the study: which instance it is, and where."""

    path: Path
    study_uid: str
    series_uid: str
    sop_uid: str
    has_pixels: bool


@dataclass
class Clock:
    """Says what was reached, when, and how long it took."""

    began: float
    last: float

    def tell(self, what: str) -> None:
        """Say that a step is done."""
        now = time.monotonic()
        say(f"{now - self.began:6.1f} s  {what} ({now - self.last:.1f} s)")
        self.last = now


@contextmanager
def own_folder(data: DataFolder) -> Iterator[Path]:
    """Have a folder for the block, named for this process; what killed demos have left goes."""
    folders, me = data.root / "demo", processes.identify(os.getpid())
    folders.mkdir(mode=0o700, exist_ok=True)
    for left in folders.iterdir():
        if not Process(*map(int, left.name.split("-"))).is_alive():
            shutil.rmtree(left, ignore_errors=True)
    mine = folders / f"{me.pid}-{me.started}"
    mine.mkdir()
    try:
        yield mine
    finally:
        shutil.rmtree(mine, ignore_errors=True)


def show(options: argparse.Namespace, data: DataFolder, folder: Path) -> None:
    """Run the demo, in a folder of its own; raises Failed when a step does not hold."""
    clock = Clock(time.monotonic(), time.monotonic())
    with ThreadPoolExecutor(1) as pool:
        # The study is made while the servers start.
        study: Future[tuple[Sent, ...]] = pool.submit(prepare, options.study, folder)
        if options.study:
            study.result()
        with stack_for(data) as chosen:
            sent = study.result()
            clock.tell(f"the stack is ready; {len(sent)} files to send, {size_of(sent) / MB:.1f} MB")
            follow(chosen, options.study or folder, sent, clock)
            say("\n".join(["", *addresses(chosen), f"{memory(RunningStack(data))}", "", *curls(chosen, sent[0])]))
            say(f"\nAll of it held, {time.monotonic() - clock.began:.1f} s in all.")
            if not options.once:
                say("The stack stays up until Ctrl-C.")
                threading.Event().wait()


@contextmanager
def stack_for(data: DataFolder) -> Iterator[Stack]:
    """Return the stack that runs on a folder, or have one for the block."""
    if running.state_of(data):
        there = running.RunningStack(data)
        running.wait_until(lambda: there.state().is_ready, running.READY_S, "the stack that runs does not get ready")
        yield there.plan
    else:
        with running.brought_up(data, os.environ) as started:
            yield started.plan


def prepare(chosen: Path | None, folder: Path) -> tuple[Sent, ...]:
    """Return what will be sent: the user's files, or a CT made in the folder."""
    from deploy.demo.sample import write_ct  # noqa: PLC0415 - numpy and pydicom load while the servers start

    if chosen is None:
        write_ct(folder, uuid.uuid4(), SLICES)
    return read_study(chosen or folder)


def read_study(folder: Path) -> tuple[Sent, ...]:
    """Read which instances lie in a folder; raises Failed when there are none."""
    if not folder.is_dir():
        raise Failed(f"{folder} is no folder: give STUDY a folder of DICOM files")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = tuple(sent for sent in map(read_sent, paths) if sent)
    if not found:
        raise Failed(f"{folder} holds no DICOM files with the UIDs of an image: give STUDY another folder")
    return found


def read_sent(path: Path) -> Sent | None:
    """Read which instance a file is; None for what storescu would not send either."""
    from pydicom import dcmread  # noqa: PLC0415
    from pydicom.errors import InvalidDicomError  # noqa: PLC0415

    with suppress(InvalidDicomError, AttributeError, OSError):
        dataset = dcmread(path, stop_before_pixels=True)
        study_uid, series_uid, sop_uid = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
        if dataset.SOPClassUID and dataset.file_meta.TransferSyntaxUID and sop_uid:
            return Sent(
                path,
                str(study_uid),
                str(series_uid),
                str(sop_uid),
                has_pixels=dataset.get("BitsAllocated", 0) >= BYTE_BITS,
            )
    return None


def size_of(sent: Sequence[Sent]) -> int:
    """Return the bytes of all files."""
    return sum(one.path.stat().st_size for one in sent)


def follow(chosen: Stack, folder: Path, sent: tuple[Sent, ...], clock: Clock) -> None:
    """Send the files and follow them to the end."""
    from deploy.demo.settled import Watch  # noqa: PLC0415 - Kafka's client loads when there is something to watch

    studies = {one.study_uid for one in sent}
    base = dicomweb_url(chosen)
    with Watch(chosen.broker) as watch:
        rate = send(chosen, folder, sent)
        clock.tell(f"{len(sent)} of {len(sent)} acknowledged{rate}")
        for study_uid in studies:
            wait_queryable(base, study_uid, {one.sop_uid for one in sent if one.study_uid == study_uid})
        clock.tell(f"queryable by QIDO-RS: {len({one.sop_uid for one in sent})} instances of {len(studies)} studies")
        for event in watch.wait(studies, chosen.study.quiet_open_s + 30):
            say(f"          settled by signal {event.signal}: revision {event.revision}, {event.instances} instances")
        clock.tell("settled")
    check_frame(base, sent, clock)
    check_all(base, sent)
    clock.tell(f"everything fetched back by WADO-RS and equal, data set for data set: {len(sent)} instances")


def send(chosen: Stack, folder: Path, sent: Sequence[Sent]) -> str:
    """Send with the stock client; the rate in words. Raises Failed when an answer is not success."""
    dimse = chosen.dimse
    address = (dimse.host, str(dimse.port), str(folder), "-aec", dimse.ae_title)
    command = (sys.executable, "-m", "pynetdicom", "storescu", *address, "-r", "-cx", "-v")
    answers: list[tuple[float, str]] = []
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        for line in client.stdout or ():
            last = line.strip() or last
            if "Sending file" in line or STATUS.search(line):
                answers.append((time.monotonic(), line))
    statuses = Counter(found[1] for _, line in answers if (found := STATUS.search(line)))
    acknowledged = sum(count for status, count in statuses.items() if STORED.fullmatch(status))
    if client.returncode or acknowledged != len(sent):
        heard = ", ".join(f"{count} x {status}" for status, count in statuses.items())
        raise Failed(f"storescu: {acknowledged} of {len(sent)} acknowledged ({heard or last})")
    took_s = answers[-1][0] - answers[0][0]
    return f", {size_of(sent) / MB / took_s:.0f} MB/s" if took_s > 0 else ""


def wait_queryable(base: str, study_uid: str, sop_uids: set[str]) -> None:
    """Return once a study's count covers what was sent; raises Failed when it does not in time."""

    def counted() -> bool:
        found = dicomweb.query(base, "/studies", StudyInstanceUID=study_uid, includefield="00201208")
        return bool(found) and found[0]["00201208"]["Value"][0] >= len(sop_uids)

    running.wait_until(counted, QUERYABLE_S, f"not queryable within {QUERYABLE_S:.0f} s: study {study_uid}")


def check_frame(base: str, sent: Sequence[Sent], clock: Clock) -> None:
    """Fetch the first frame of an image, and compare it where it is stored as it was sent."""
    one = next((one for one in sent if one.has_pixels), None)
    if one is None:
        clock.tell("no frame to fetch: no file holds an image")
        return
    path = f"/studies/{one.study_uid}/series/{one.series_uid}/instances/{one.sop_uid}/frames/1"
    (frame,) = dicomweb.retrieve(base, path, dicomweb.FRAME)
    if frame.rstrip(b"\0") != first_frame(one.path).rstrip(b"\0"):
        raise Failed(f"the frame is not the one that was sent: {path}")
    clock.tell(f"frame 1 of {one.sop_uid} fetched: {len(frame)} bytes, as sent")


def first_frame(path: Path) -> bytes:
    """Return the first frame of a file as it is encoded there (PS3.5 A.4 for encapsulated ones)."""
    from pydicom import dcmread  # noqa: PLC0415
    from pydicom.encaps import generate_frames  # noqa: PLC0415

    dataset = dcmread(path)
    count = int(dataset.get("NumberOfFrames") or 1)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return bytes(next(generate_frames(dataset.PixelData, number_of_frames=count)))
    return bytes(dataset.PixelData[: len(dataset.PixelData) // count])


def check_all(base: str, sent: Sequence[Sent]) -> None:
    """Fetch every study and compare each instance with its file; raises Failed when one differs or is missing."""
    files = {(one.study_uid, one.sop_uid): one.path for one in sent}
    seen = set()
    for study_uid in {one.study_uid for one in sent}:
        for part in dicomweb.retrieve(base, f"/studies/{study_uid}", dicomweb.PART_10):
            key = (study_uid, sop_uid_of(part))
            if key in files and not same_data_set(part, files[key]):
                raise Failed(f"instance {key[1]} came back changed")
            seen.add(key)
    if missing := files.keys() - seen:
        raise Failed(f"{len(missing)} of {len(files)} instances did not come back")


def sop_uid_of(part10: bytes) -> str:
    """Read the SOP Instance UID off the file meta."""
    from pydicom import dcmread  # noqa: PLC0415

    return str(dcmread(BytesIO(part10), stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def same_data_set(part10: bytes, path: Path) -> bool:
    """Compare what came back with a file's data set, byte for byte: as it is, or as storescu writes it anew.

    pydicom, which storescu reads and writes with, drops group lengths (retired, PS3.5 7.2).
    """
    from pydicom import dcmread  # noqa: PLC0415
    from pynetdicom.dsutils import encode  # noqa: PLC0415

    came_back = data_set(part10)
    if came_back == data_set(path.read_bytes()):
        return True
    dataset = dcmread(path)
    syntax = dataset.file_meta.TransferSyntaxUID
    written = encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    return bool(came_back == written)


def data_set(part10: bytes) -> bytes:
    """Return what follows the file meta, whose length its first element says (PS3.10 7.1)."""
    return part10[144 + int.from_bytes(part10[META_LENGTH], "little") :]


def curls(chosen: Stack, one: Sent) -> list[str]:
    """Return lines to try by hand."""
    study = f"{dicomweb_url(chosen)}/studies/{one.study_uid}"
    return [
        f"  curl '{dicomweb_url(chosen)}/studies?StudyInstanceUID={one.study_uid}'",
        f"  curl '{study}/metadata' -o metadata.json",
        f"  curl -H 'Accept: {dicomweb.PART_10}' '{study}' -o study.multipart",
    ]


def interrupt(*_: object) -> None:
    """End on TERM as on Ctrl-C, also where a shell has us ignore Ctrl-C."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all held, 1 a problem, said in a line, 130 stopped before the end."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="end when all was shown")
    parser.add_argument("--study", type=Path, metavar="FOLDER", help="send these DICOM files")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        data = data_folder.here()
        data.make()
        with own_folder(data) as folder:
            show(options, data, folder)
    except Failed as failure:
        print(f"The demo failed: {failure}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130 if options.once else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
