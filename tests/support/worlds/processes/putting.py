"""Processes that put policies, over one store and one broker in memory, which outlive them."""

import asyncio
from dataclasses import dataclass

import orjson

from gateway.intake.outbox.outbox import Outbox
from gateway.policies.putting import Policies, PolicyPorts, PutPolicy
from gateway.policies.request import PolicyRequest
from operators.policies.document import rules_json
from operators.store.policies import POLICIES
from schemas.events import PolicyChanged, PolicyRule
from schemas.objects import Bucket
from schemas.topics import POLICY_CHANGED
from tests.support.worlds.intake import IntakeWorld
from tests.support.worlds.policies import number, rule, texts

OLD = rule("old", number("settled_s", at_least=31_536_000), tier="cold")
OLD_CT = rule("old-ct", texts("modality", "CT"), number("settled_s", at_least=86_400), tier="warm")


def document(*rules: PolicyRule) -> bytes:
    """Return the document of these rules."""
    return orjson.dumps(rules_json(rules))


PUT = PolicyRequest(
    tenant="local", kind="tiering", name="age", who="loopback", why="the hot tier is full", document=document(OLD)
)


@dataclass
class PuttingProcess:
    """The policies and the outbox of one process."""

    world: IntakeWorld
    outbox: Outbox

    @classmethod
    def of(cls, world: IntakeWorld) -> "PuttingProcess":
        """Return a new process."""
        return cls(world, Outbox.create(world.folder, world.outbox_ports()))

    @property
    def policies(self) -> Policies:
        return Policies(PolicyPorts(self.world.store, self.world.events, self.outbox))

    def put(self, request: PolicyRequest) -> PutPolicy:
        """Store and publish one version."""
        return asyncio.run(self.policies.put(request))

    def die(self) -> None:
        """Release the journal's lock and nothing else, as the kernel does for a killed process."""
        self.outbox._ledger.journal.close()


def published(world: IntakeWorld) -> list[PolicyChanged]:
    """Return the events of all versions."""
    return [event for event in world.events.events(POLICY_CHANGED) if isinstance(event, PolicyChanged)]


def stored(world: IntakeWorld) -> list[PolicyChanged]:
    """Return the versions in the store, in the order of their keys."""
    held = {key: one.data for (bucket, key), one in world.store.objects.items() if bucket is Bucket.HOT}
    return [POLICIES.event_in(key, held[key]) for key in sorted(held)]
