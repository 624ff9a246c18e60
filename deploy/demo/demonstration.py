"""The demo: a stack, a study to send, and the lines about them."""

import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.demo.stopwatch import Stopwatch
from deploy.install.disk import MB
from deploy.local import data_folder, report, running
from deploy.local.data_folder import DataFolder
from deploy.local.report import dicomweb_url, say
from deploy.local.running import RunningStack
from deploy.local.supervision import processes
from deploy.local.supervision.processes import Process

if TYPE_CHECKING:
    from deploy.demo.study import StudyFile

SLICES = 100


def demonstrate(chosen: Path | None, *, stay_up: bool) -> None:
    """Send the files of the chosen folder, or a CT, and follow them to the end; raises Failed when a step fails.

    With `stay_up` it does not return.
    """
    stopwatch = Stopwatch(time.monotonic(), time.monotonic())
    data = data_folder.here()
    data.make()
    with own_folder(data) as own, ThreadPoolExecutor(1) as pool:
        # The study is made, and the DICOM libraries are loaded, while the servers start.
        study: Future[tuple[StudyFile, ...]] = pool.submit(prepare, chosen, own)
        if chosen:
            study.result()
        with stack_on(data) as stack:
            files = study.result()
            size = sum(file.path.stat().st_size for file in files)
            stopwatch.print(f"the stack is ready; {len(files)} files to send, {size / MB:.1f} MB")
            from deploy.demo.following import follow  # noqa: PLC0415 - loads pydicom and the clients of all servers

            follow(stack, own, files, stopwatch)
            say("\n".join(["", *report.addresses(stack.plan), report.memory(stack)]))
            say(f"\nEvery step succeeded, in {time.monotonic() - stopwatch.began:.1f} s.")
            if stay_up:
                say("\n".join(["", *examples(stack, files[0]), ""]))
                say("The stack stays up until Ctrl-C.")
                threading.Event().wait()


@contextmanager
def own_folder(data: DataFolder) -> Iterator[Path]:
    """Make a folder for the block, named for this process; delete the folders of demos that were killed."""
    folders, us = data.root / "demo", processes.identify(os.getpid())
    folders.mkdir(mode=0o700, exist_ok=True)
    for folder in folders.iterdir():
        if not Process(*map(int, folder.name.split("-"))).is_alive():
            shutil.rmtree(folder, ignore_errors=True)
    own = folders / f"{us.pid}-{us.started}"
    own.mkdir()
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


@contextmanager
def stack_on(data: DataFolder) -> Iterator[RunningStack]:
    """Yield the stack that runs on a data folder, or start one for the block."""
    if running.state_of(data):
        stack = RunningStack(data)
        running.wait_until(
            lambda: stack.state().is_ready, running.READY_S, "the running stack does not become ready: see make status"
        )
        yield stack
    else:
        with running.brought_up(data, os.environ) as started:
            yield started


def prepare(chosen: Path | None, own: Path) -> "tuple[StudyFile, ...]":
    """Return the files to send: those of the chosen folder, or a CT that is made in the folder `own`."""
    from deploy.demo.sample import write_ct  # noqa: PLC0415 - loads numpy and pydicom
    from deploy.demo.study import read_study  # noqa: PLC0415

    if chosen is None:
        write_ct(own, uuid.uuid4(), SLICES)
    return read_study(chosen or own)


def examples(stack: RunningStack, file: "StudyFile") -> list[str]:
    """Return commands that people can try by hand, for the study of a file."""
    base = dicomweb_url(stack.plan)
    study = f"{base}/studies/{file.study_uid}"
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    return [
        f"  curl '{base}/studies?StudyInstanceUID={file.study_uid}'",
        f"  curl '{study}/metadata' -o metadata.json",
        f"  curl -H 'Accept: {accept}' '{study}' -o study.multipart",
        f"  curl '{stack.api_url}/v1/studies/{file.study_uid}/history'",
    ]
