"""The observer: takes snapshots of an archive with client code alone, each store by its own protocol.

It imports nothing of the product. Where the product stores what is written down a second time here, on purpose.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from tests.audit.address import ArchiveAddress
from tests.audit.checks.leaks import leaks
from tests.audit.collect.api import Api
from tests.audit.collect.catalog import applied, catalog, open_tables
from tests.audit.collect.contents import KnownContents
from tests.audit.collect.logs import logged
from tests.audit.collect.object_store import BUCKETS, QUARANTINE, documents, listing, refused, store, stored
from tests.audit.collect.positions import Broker
from tests.audit.collect.records import FIELDS, snapshot_fields
from tests.audit.collect.topics import Topics
from tests.audit.ledger import Line, read
from tests.audit.sampling import sample
from tests.audit.snapshot import Positions, Snapshot


@dataclass
class Observer:
    """The observer of one archive; each snapshot continues reading Kafka where the last one ended."""

    address: ArchiveAddress
    ledgers: Sequence[Path]
    topics: Topics
    broker: Broker
    api: Api
    restored: bool = False
    known: KnownContents = field(default_factory=KnownContents)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def snapshot(self, *, hashed: int | None = 0, fetched: int = 0) -> Snapshot:
        """Return a snapshot, for which `hashed` objects (None: all) are read and `fetched` instances retrieved by WADO."""
        self.seconds.clear()
        with self.timed("ledger"):
            ledger = read(*self.ledgers)
        # In this order what is there for one is there for the next: events have objects, and become rows.
        with self.timed("topics"):
            positions = self.read_topics()
        with self.timed("objects"):
            objects = self.objects(hashed)
        tenants = {line.tenant for line in ledger} | {key.split("/")[0] for key in objects["objects"]}
        with self.timed("catalog"):
            rows = catalog(self.address, sorted(tenants))
        with self.timed("topics"):
            records = snapshot_fields(self.topics)
        return Snapshot(
            ledger=tuple(ledger),
            positions=positions,
            restored=self.restored,
            known_objects=self.known.found,
            open_tables=open_tables(self.address),
            leaks=self.leaks(ledger, chain.from_iterable(objects.values())) if hashed != 0 else (),
            **objects,
            **rows,
            **records,
            **self.answers(ledger, fetched),
        )

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds that the block takes to those of this part."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] += time.monotonic() - began

    def objects(self, hashed: int | None) -> dict[str, Any]:
        """Return the fields of a Snapshot that come from the object store."""
        with store(self.address) as client:
            every = list(listing(client, BUCKETS))
            return {
                "objects": stored(client, every, hashed, self.known),
                "quarantine_objects": refused(client, list(listing(client, (QUARANTINE,))), hashed, self.known),
                "documents": documents(client, every),
            }

    def answers(self, ledger: Iterable[Line], fetched: int) -> dict[str, Any]:
        """Return the fields of a Snapshot that come from the read API."""
        acked = [line for line in ledger if line.state == "acked"]
        with self.timed("WADO"):
            hashes = self.api.fetched(sample(acked, fetched))
        with self.timed("QIDO"):
            answers = self.api.answers()
        return {**answers, "wado_hashes": hashes, "retried_reads": len(self.api.retried_reads)}

    def read_topics(self) -> Positions:
        """Read the records that were added, and forget those that were deleted; return the positions of broker and jobs."""
        commits = self.broker.commits(self.topics.partitions())
        self.topics.read_on()
        found = self.broker.positions(self.topics.ends, applied(self.address), commits)
        self.topics.forget_before({partition: start for partition, (start, _) in found.spans.items()})
        return found

    def leaks(self, ledger: Iterable[Line], keys: Iterable[str]) -> tuple[str, ...]:
        """Return the places outside the stores of patient data in which a patient's token stands."""
        tokens = {line.canary for line in ledger} - {""}
        with self.timed("leaks"):
            for token in sorted(tokens)[:1]:
                self.api.ask_for(token)
            own = [("object keys", "\n".join(keys).encode()), ("record keys", b"\n".join(self.topics.keys))]
            return tuple(leaks(tokens, chain(own, self.api.metrics(), logged(self.address.logs))))


@contextmanager
def observing(
    address: ArchiveAddress, ledgers: Sequence[Path], *, restored: bool = False, known: KnownContents | None = None
) -> Iterator[Observer]:
    """Connect an observer to the archive, whose database may have been restored, for the block."""
    bootstrap = address.setting("FLUORO_BROKER_BOOTSTRAP")
    with Topics(bootstrap, FIELDS) as topics, Broker(bootstrap) as broker, Api(address) as api:
        yield Observer(address, ledgers, topics, broker, api, restored, known or KnownContents())
