"""The quarantine's keys, and the events of an object that is held there and of the decision that ends the hold."""

import re
from dataclasses import replace
from datetime import datetime, timedelta

from operators.store.ports import StoredObject
from schemas.events import InstanceQuarantined, QuarantineState, event_id
from schemas.objects import DATA_HASH, TENANT

DAMAGED_KEY = re.compile(rf"{TENANT.pattern}/damaged/{DATA_HASH.pattern}/{DATA_HASH.pattern}")
TICK = timedelta(microseconds=1)


def key(tenant: str, data_hash: str) -> str:
    """Return the key of an object: a data set is stored once, with the prefix that it had when it first came."""
    return f"{tenant}/{data_hash}"


def damaged_key(tenant: str, data_hash: str, bytes_hash: str) -> str:
    """Return the key for what could be read of a damaged object: whose data set it was, and the hash of what was read."""
    return f"{tenant}/damaged/{data_hash}/{bytes_hash}"


def is_damaged_key(key: str) -> bool:
    """True if damaged_key() made this key."""
    return DAMAGED_KEY.fullmatch(key) is not None


def tenant_and_hash(object_key: str) -> tuple[str, str]:
    """Return the tenant and the data hash in a key."""
    tenant, _, data_hash = object_key.partition("/")
    return tenant, data_hash


def held(stored: StoredObject, kept: timedelta) -> InstanceQuarantined:
    """Return the event of an object in quarantine; it depends on the stored object alone, and is always the same.

    Its times are those of the first arrival: content that is sent again is not kept any longer.
    """
    envelope, (tenant, data_hash) = stored.envelope, tenant_and_hash(stored.key)
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


def decided(
    before: InstanceQuarantined, state: QuarantineState, now: datetime, who: str = "", why: str = ""
) -> InstanceQuarantined:
    """Return the event of an operator's decision on a held object; it is later than `before`, whatever clocks say."""
    return replace(
        before,
        event_id=_id(before.tenant, before.data_hash, before.stored_at, state),
        occurred_at=max(now, before.occurred_at + TICK),
        cause=(before.event_id,),
        state=state,
        who=who,
        why=why,
    )


def _id(tenant: str, data_hash: str, stored_at: datetime, state: QuarantineState) -> str:
    # The time is part of the id: content that was released or discarded may be sent, and be held, once more.
    return event_id("instance-quarantined", tenant, data_hash, stored_at.isoformat(), state)
