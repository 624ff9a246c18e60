"""The observer: takes snapshots of an archive with client code alone, each store by its own protocol.

It imports nothing of the product. Where the product stores what is written down a second time here, on purpose.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.audit.address import ArchiveAddress
from tests.audit.checks.leaks import leaks
from tests.audit.collect.api import Api
from tests.audit.collect.catalog import catalog
from tests.audit.collect.logs import logged
from tests.audit.collect.object_store import QUARANTINE, quarantined_content, refused, stored
from tests.audit.collect.topics import Topics, announced, chosen, commanded, deleted, due, raised, settled
from tests.audit.ledger import Line, read
from tests.audit.sampling import sample
from tests.audit.snapshot import Snapshot


@dataclass
class Observer:
    """The observer of one archive; each snapshot continues reading Kafka where the last one ended."""

    address: ArchiveAddress
    ledgers: Sequence[Path]
    topics: "Topics"
    api: "Api"
    restored: bool = False

    def snapshot(self, *, hashed: int | None = 0, fetched: int = 0) -> Snapshot:
        """Return a snapshot, for which `hashed` objects (None: all) are read and `fetched` instances retrieved by WADO."""
        ledger = read(*self.ledgers)
        self.topics.read_on()
        objects = stored(self.address, hashed)
        refused_objects = refused(stored(self.address, hashed, (QUARANTINE,), quarantined_content))
        tenants = {line.tenant for line in ledger} | {key.split("/")[0] for key in objects}
        fetched_now = self.api.fetched(sample([line for line in ledger if line.state == "acked"], fetched))
        return Snapshot(
            ledger=tuple(ledger),
            objects=objects,
            quarantine_objects=refused_objects,
            announced_conflicts=frozenset(raised(one) for one in self.topics.records["instance-conflict"]),
            unreadable=tuple(self.topics.unreadable),
            rejected=tuple(str(one["reason"]) for one in self.topics.records["record-rejected"]),
            settled_events=tuple(settled(one) for one in self.topics.records["study-settled"]),
            stored_events=tuple(announced(one) for one in self.topics.records["instance-stored"]),
            commands=tuple(commanded(one) for one in self.topics.records["study-command"]),
            dues=tuple(due(one) for one in self.topics.records["study-due"]),
            deleted=deleted(self.topics.records["study-command"]),
            chosen=chosen(self.topics.records["study-command"]),
            wado_hashes=fetched_now,
            retried_reads=len(self.api.retried_reads),
            leaks=tuple(self.leaks(ledger, [*objects, *refused_objects])) if hashed != 0 else (),
            restored=self.restored,
            **catalog(self.address, sorted(tenants)),
            **self.api.answers(),
        )

    def leaks(self, ledger: Iterable[Line], objects: Iterable[str]) -> Iterator[str]:
        """Yield the places outside the stores of patient data in which a patient's token stands."""
        tokens = {line.canary for line in ledger} - {""}
        for token in sorted(tokens)[:1]:
            self.api.ask_for(token)
        own = [("object keys", "\n".join(objects).encode()), ("record keys", b"\n".join(self.topics.keys))]
        yield from leaks(tokens, itertools.chain(own, self.api.metrics(), logged(self.address.logs)))


@contextmanager
def observing(address: ArchiveAddress, ledgers: Sequence[Path], *, restored: bool = False) -> Iterator[Observer]:
    """Connect an observer to the archive, whose database may have been restored, for the block."""
    with Topics(address.setting("FLUORO_BROKER_BOOTSTRAP")) as topics, Api(address) as api:
        yield Observer(address, ledgers, topics, api, restored)
