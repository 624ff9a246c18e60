"""What was refused and is kept aside: where it lies, and the events of its being kept and let go."""

from dataclasses import replace
from datetime import datetime, timedelta

from operators.store.ports import StoredObject
from schemas.events import InstanceQuarantined, QuarantineState, event_id

TICK = timedelta(microseconds=1)


def key(tenant: str, data_hash: str) -> str:
    """Return the object's key in the quarantine bucket: one data set is one object, with the prefix it first came with."""
    return f"{tenant}/{data_hash}"


def names(object_key: str) -> tuple[str, str]:
    """Return the tenant and the data hash of a key."""
    tenant, _, data_hash = object_key.partition("/")
    return tenant, data_hash


def held(stored: StoredObject, kept: timedelta) -> InstanceQuarantined:
    """Return the event of an object being in quarantine, from what lies in the store alone: always the same one.

    Its time is that of the first arrival: what comes again stays no longer for it.
    """
    tenant, data_hash = names(stored.key)
    envelope = stored.envelope
    return InstanceQuarantined(
        event_id=_id(tenant, data_hash, envelope.stored_at, "held"),
        tenant=tenant,
        occurred_at=envelope.stored_at,
        cause=(envelope.transfer_id,),
        state="held",
        data_hash=data_hash,
        object_key=stored.key,
        reason=envelope.reason,
        size_bytes=stored.size_bytes,
        prefix_hash=envelope.prefix_hash,
        origin=envelope.origin,
        transfer_id=envelope.transfer_id,
        calling_ae=envelope.calling_ae,
        called_ae=envelope.called_ae,
        received_at=envelope.received_at,
        stored_at=envelope.stored_at,
        until=envelope.stored_at + kept,
    )


def let_go(before: InstanceQuarantined, state: QuarantineState, now: datetime) -> InstanceQuarantined:
    """Return the event of an operator's decision; it comes after what it decides on, whatever the clocks say."""
    return replace(
        before,
        event_id=_id(before.tenant, before.data_hash, before.stored_at, state),
        occurred_at=max(now, before.occurred_at + TICK),
        cause=(before.event_id,),
        state=state,
    )


def _id(tenant: str, data_hash: str, stored_at: datetime, state: QuarantineState) -> str:
    # The moment is part of it: what was let go may come, and be kept, once more.
    return event_id("instance-quarantined", tenant, data_hash, stored_at.isoformat(), state)
