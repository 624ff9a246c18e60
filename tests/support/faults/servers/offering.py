"""Modalities that go on examining whatever the archive answers: instances come at a steady rate, and wait until they are stored."""

import itertools
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Self

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests.audit.ledger import Ledger
from tests.bench.latency import line
from tests.support.data.generate import Instance, Volume, instances
from tests.support.senders.scu import Association, associated
from tests.support.senders.sender import Peer, meaning

SLICES = 100
# The last digits of a UID, which tell instances and studies apart.
DIGITS = 8
PLANNED = 116
MODALITIES = 32
LOOK_S = 0.1
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0


class Offering:
    """For the block, `rate` new instances a second; each is sent again until it is stored. At the end all are."""

    def __init__(self, peer: Peer, ledger: Ledger, rate: float, seed: int) -> None:
        self.offered = list[Instance]()
        self.acked = 0
        self.refused = 0
        self._peer, self._ledger, self._rate, self._seed = peer, ledger, rate, seed
        self._waiting = queue.SimpleQueue[Instance]()
        self._counting = threading.Lock()
        self._ended, self._is_abandoned = threading.Event(), False
        self._threads = [threading.Thread(target=self._offer)]
        self._threads += [threading.Thread(target=self._examine) for _ in range(MODALITIES)]

    @property
    def is_over(self) -> bool:
        """True if nothing more is offered, and all of it is stored."""
        return self._ended.is_set() and self.acked == len(self.offered)

    @property
    def studies(self) -> list[str]:
        """Return the studies that were offered."""
        return sorted({one.study_uid for one in self.offered})

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self._is_abandoned = failure is not None
        self.end()
        for thread in self._threads:
            thread.join()

    def end(self) -> None:
        """Offer nothing more."""
        self._ended.set()
        self._threads[0].join()

    def _offer(self) -> None:
        """Offer an instance whenever one is due; the ledger has a second's instances in advance."""
        began, endless = time.monotonic(), instances_of(self._seed)
        while planned := list(itertools.islice(endless, PLANNED)):
            self._ledger.plan(map(line, planned))
            for instance in planned:
                due = began + len(self.offered) / self._rate
                if self._ended.wait(max(due - time.monotonic(), 0)):
                    return
                self.offered.append(instance)
                self._waiting.put(instance)

    def _examine(self) -> None:
        """Send what waits, and wait longer after each failure in a row."""
        wait_s = FIRST_WAIT_S
        while not (self.is_over or self._is_abandoned):
            went_well = True
            if one := self._next():
                with suppress(OSError):
                    went_well = self._associate(one)
            if not went_well:
                time.sleep(wait_s)
            wait_s = FIRST_WAIT_S if went_well else min(2 * wait_s, LONGEST_WAIT_S)

    def _associate(self, first: Instance) -> bool:
        """Send an instance, and what waits, over an association; True if all is stored. It may be lost at its release."""
        with ExitStack() as opened:
            try:
                association = opened.enter_context(associated(self._peer, CTImageStorage, ExplicitVRLittleEndian))
            except OSError:
                self._waiting.put(first)
                return False
            one: Instance | None = first
            while one:
                if not self._store(association, one):
                    return False
                one = self._next()
        return True

    def _next(self) -> Instance | None:
        """Return an instance that waits, if there is one soon."""
        with suppress(queue.Empty):
            return self._waiting.get(timeout=LOOK_S)
        return None

    def _store(self, association: Association, instance: Instance) -> bool:
        """Send an instance once; put it back if it is not stored."""
        try:
            status = f"{association.store(instance):04X}"
        except OSError:
            status = "lost"
        state = meaning(status)
        self._ledger.answer(line(instance), state, status)
        with self._counting:
            self.acked += state == "acked"
            self.refused += state == "failed"
        if state != "acked":
            self._waiting.put(instance)
        return state == "acked"


def instances_of(seed: int) -> Iterator[Instance]:
    """Yield instances of one study after the other, which differ in their UIDs alone: making each anew takes 9 ms."""
    (first,) = instances(Volume(slices=1, size=16, seed=seed))
    for number in itertools.count():
        study = number // SLICES
        yield renumbered(
            first,
            study_uid=ending(first.study_uid, study),
            series_uid=ending(first.series_uid, study),
            sop_uid=ending(first.sop_uid, number),
        )


def ending(uid: str, number: int) -> str:
    """Return a UID whose last digits are a number."""
    return f"{uid[:-DIGITS]}{number:0{DIGITS}}"


def renumbered(one: Instance, *, study_uid: str, series_uid: str, sop_uid: str) -> Instance:
    """Return the same instance under other UIDs of the same lengths."""
    meta, header = one.meta, one.header
    for before, after in ((one.study_uid, study_uid), (one.series_uid, series_uid), (one.sop_uid, sop_uid)):
        meta = meta.replace(before.encode(), after.encode())
        header = header.replace(before.encode(), after.encode())
    return replace(one, study_uid=study_uid, series_uid=series_uid, sop_uid=sop_uid, meta=meta, header=header)
