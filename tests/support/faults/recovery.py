"""When an archive works again after a fault, and servers that stand still for a while."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil

from deploy.local.running import wait_until
from tests.audit.ledger import Ledger
from tests.support.data.generate import Volume, instances
from tests.support.kills.asking import asked
from tests.support.kills.victims import missing
from tests.support.proof import Proof
from tests.support.senders.sender import Peer, send

ANSWER_S = 5.0
ATTEMPT_S = 0.3


def until_whole(proof: Proof, folder: Path, within_s: float) -> None:
    """Wait until a new instance is stored and found by a query, and nothing of the stack is missing."""
    study_uid = until_stored(proof.peer, proof.ledger, folder, within_s)
    url = f"{proof.archive.api_url}/dicomweb/studies/{study_uid}/instances"
    wait_until(lambda: is_found(url), within_s, "what was stored cannot be found")
    wait_until(lambda: not missing(proof.archive), within_s, "a part of the stack is missing")


def until_stored(peer: Peer, ledger: Ledger, folder: Path, within_s: float) -> str:
    """Send a new instance until it is acknowledged; return its study."""
    (instance,) = instances(Volume(slices=1, size=16, seed=time.time_ns()))
    path = instance.write(folder / "whole.dcm")
    hurried = replace(peer, answer_s=ANSWER_S, patience_s=ATTEMPT_S)
    wait_until(lambda: send([path], hurried, ledger, 1).complete, within_s, "nothing can be stored")
    return instance.study_uid


def is_found(url: str) -> bool:
    """True if a query answers with a result; one without any is answered with 200, too."""
    answer = asked(url, ANSWER_S)
    return answer is not None and answer.status_code == httpx.codes.OK and bool(answer.json())


@contextmanager
def standing_still(process: psutil.Process) -> Iterator[None]:
    """Stop a process for the block: its connections stay open, and nothing is answered."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
