"""Senders of one instance who look at the clock: what they were told, and after how long."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from deploy.local.running import wait_until
from tests.audit.ledger import Ledger, Line, State
from tests.bench.latency import line
from tests.support.data.generate import Instance, Volume, instances
from tests.support.proof import Proof
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer, meaning
from tests.support.senders.stow import CONTENT_TYPE, HEAD, TAIL

PATIENT_S = 60.0


@dataclass(frozen=True)
class Told:
    """What a sender was told: a DIMSE or HTTP status, and after how many seconds."""

    status: str
    took_s: float


def send_one(proof: Proof, seed: int) -> Told:
    """Send an instance by C-STORE once."""
    instance = planned(proof, seed)
    with associated(proof.peer, instance.sop_class, instance.transfer_syntax) as association:
        began = time.monotonic()
        told = Told(f"{association.store(instance):04X}", time.monotonic() - began)
    proof.ledger.answer(line(instance), meaning(told.status), told.status)
    return told


def stow_one(proof: Proof, seed: int) -> Told:
    """Send an instance by STOW-RS once."""
    instance = planned(proof, seed)
    content = b"".join((HEAD, instance.meta, *instance.parts, b"\r\n", TAIL))
    began = time.monotonic()
    answer = httpx.post(
        f"{proof.archive.api_url}/dicomweb/studies",
        content=content,
        headers={"Content-Type": CONTENT_TYPE, "Accept": "application/dicom+json"},
        timeout=PATIENT_S,
    )
    told = Told(str(answer.status_code), time.monotonic() - began)
    proof.ledger.answer(line(instance), "acked" if answer.status_code == httpx.codes.OK else "failed", told.status)
    return told


def echo(peer: Peer) -> float:
    """Send a C-ECHO in an association of its own; return after how many seconds it was answered with success."""
    began = time.monotonic()
    entity = AE(ae_title="ECHOES")
    entity.add_requested_context(Verification)
    association = entity.associate(peer.host, peer.port, ae_title=peer.ae_title)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()
    return time.monotonic() - began


def planned(proof: Proof, seed: int) -> Instance:
    """Return the instance of a seed, which the ledger knows from now on."""
    (instance,) = instances(Volume(slices=1, size=64, seed=seed))
    proof.ledger.plan([line(instance)])
    return instance


class WatchedLedger(Ledger):
    """A ledger that knows when each acknowledgement came, and how many refusals, while others are still being sent."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.refused = 0
        self._acked_s: list[float] = []

    def answers(self, lines: Iterable[Line], state: State, status: str) -> None:
        """Record the answers, count them, and note the moment of those that acknowledge."""
        every = list(lines)
        super().answers(every, state, status)
        self._acked_s += [time.monotonic()] * len(every) if state == "acked" else []
        self.refused += len(every) if state == "failed" else 0

    def wait_acked(self, count: int) -> None:
        """Wait until so many instances are acknowledged."""
        wait_until(lambda: len(self._acked_s) >= count, PATIENT_S, f"fewer than {count} are acknowledged")

    def acked_between(self, began: float, ended: float) -> int:
        """Return how many were acknowledged between two moments of the monotonic clock."""
        return sum(began <= moment <= ended for moment in self._acked_s)
