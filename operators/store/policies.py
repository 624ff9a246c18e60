"""Policies as objects: each version is one, which is never overwritten. The newest version of a policy is in force."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import structlog

from operators.errors import Rejected, Unreadable
from operators.store.documents import Documents, present
from operators.store.ports import ObjectStore
from schemas.events import Event, PolicyChanged, PolicyCondition, PolicyRule
from schemas.objects import POLICY_NAME, TENANT, Bucket, policies_prefix, policy_key

KEY = re.compile(
    rf"(?P<tenant>{TENANT.pattern})/_policies/(?P<kind>{POLICY_NAME.pattern})/(?P<name>{POLICY_NAME.pattern})"
    r"/(?P<version>(?!000000)[0-9]{6})\.json"
)
T = TypeVar("T", bound=Event)
# A policy of a tenant: its kind and its name.
PolicyName = tuple[str, str]

log = structlog.get_logger()


def _key_of(policy: PolicyChanged) -> str:
    return policy_key(policy.tenant, policy.kind, policy.name, policy.version)


def _written(value: Any) -> dict[str, Any]:
    if isinstance(value, (PolicyRule, PolicyCondition)):
        return present(value)
    raise TypeError


def rules_of(values: Iterable[Mapping[str, Any]]) -> tuple[PolicyRule, ...]:
    """Return the rules of a version from JSON, as objects and rows have them."""
    return tuple(
        PolicyRule(name=each["name"], when=tuple(map(_condition, each["when"])), then=each["then"]) for each in values
    )


def _condition(values: Mapping[str, Any]) -> PolicyCondition:
    at_least, at_most = values.get("at_least"), values.get("at_most")
    return PolicyCondition(
        fact=values["fact"], any_of=tuple(values.get("any_of", ())), at_least=at_least, at_most=at_most
    )


# More than the rules of the largest document, each text of them on a line of its own.
POLICIES = Documents(PolicyChanged, _key_of, "policy-unreadable", 8 * 2**20, _written, {"rules": rules_of})


async def versions(store: ObjectStore, tenant: str, kind: str = "", name: str = "") -> dict[PolicyName, list[int]]:
    """Return the versions of a tenant's policies, of one kind or of one policy, each in order; raises ValueError.

    Objects under other keys are none: they are logged.
    """
    found = dict[PolicyName, list[int]]()
    async for key in store.keys(Bucket.HOT, policies_prefix(tenant, kind, name)):
        parts = KEY.fullmatch(key)
        if parts:
            found.setdefault((parts["kind"], parts["name"]), []).append(int(parts["version"]))
        else:
            log.error("policy_key_unknown", key=key)
    return found


async def readable(store: ObjectStore, key: str) -> PolicyChanged | None:
    """Return the version of this key; None, and a line in the log, if it cannot be read. Raises Unavailable."""
    try:
        return await POLICIES.find(store, key)
    except Rejected as error:
        reason = error.reason
    except Unreadable as error:
        # A store that ails as a whole answers so too; then the check raises.
        await store.check()
        reason = error.what
    log.error("policy_unreadable", key=key, reason=reason)
    return None


async def in_force(store: ObjectStore, tenant: str, kind: str = "") -> tuple[PolicyChanged, ...]:
    """Return the newest version of each policy of a tenant, or of one kind, as newest_of()."""
    return await newest_of(store, tenant, await versions(store, tenant, kind))


async def newest_of(
    store: ObjectStore, tenant: str, found: Mapping[PolicyName, Sequence[int]]
) -> tuple[PolicyChanged, ...]:
    """Return the newest of the versions that were found of each policy, in the order of kinds and names.

    One that cannot be read is left out, and no older version stands in for it: that one is in force no more.
    """
    newest = [policy_key(tenant, *policy, numbers[-1]) for policy, numbers in sorted(found.items())]
    return tuple([policy for key in newest if (policy := await readable(store, key))])


async def newest_since(store: ObjectStore, key: str) -> PolicyChanged | None:
    """Return the newest version of the policy of this key, None if it is older than the key's, or there is none.

    Raises Rejected if the newest version cannot be read, or the key is no policy's.
    """
    parts = KEY.fullmatch(key)
    if parts is None:
        raise Rejected(POLICIES.unreadable)
    policy = (parts["kind"], parts["name"])
    last = (await versions(store, parts["tenant"], *policy)).get(policy, [0])[-1]
    if last < int(parts["version"]):
        return None
    return await POLICIES.find(store, policy_key(parts["tenant"], *policy, last))


async def publish_newest(
    publish: Callable[[Any], Awaitable[object]], newest: Callable[[], Awaitable[T | None]]
) -> T | None:
    """Publish the newest version of a policy, until it is still the newest after it was acknowledged; return it.

    The topic keeps the last record of a policy. Everybody who publishes does it by this function, and who is killed or
    fails before it returns leaves an intent, so that another does. So the last record is the newest version: of an
    older one its publisher looks after the record is there, and either sees the newer one, and publishes it, or looks
    before the newer one is stored, whose own publisher then publishes it later.
    """
    published: T | None = None
    while (policy := await newest()) is not None and policy != published:
        await publish(policy)
        published = policy
    return published
