"""The answer to a put policy, the same over REST and on the command line."""

from typing import Any

from gateway.policies.putting import PutPolicy


def answer(put: PutPolicy) -> dict[str, Any]:
    """Return what is in force now, without its rules and its reason: whoever has asked knows them."""
    policy = put.policy
    return {
        "id": policy.event_id,
        "tenant": policy.tenant,
        "kind": policy.kind,
        "name": policy.name,
        "version": policy.version,
        "who": policy.who,
        "occurred_at": policy.occurred_at.isoformat(timespec="microseconds"),
        "repeat": put.is_repeat,
    }
