"""The use case of a policy: rules become its next version, as an object first, an event second, an answer third.

The outbox publishes the version of a process that died, or whose broker did not answer.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import cast

import structlog

from gateway.intake.deadlines import ANNOUNCE_S, CLOCK_S, within
from gateway.intake.failpoints import Reached, pass_by
from gateway.intake.outbox.documents import intended
from gateway.intake.outbox.ledger import POLICY
from gateway.intake.outbox.outbox import Outbox
from gateway.policies.request import PolicyRequest, check
from operators.errors import Rejected
from operators.http.problem import Problem
from operators.policies.checking import dead_rules
from operators.policies.document import BadPolicy, rules_in
from operators.store.policies import POLICIES, newest_of, newest_since, publish_newest, readable, versions
from operators.store.ports import EventLog, ObjectStore
from schemas.events import PolicyChanged, PolicyKind, PolicyRule, event_id
from schemas.objects import MOST_VERSIONS, Bucket
from schemas.topics import POLICY_CHANGED

TICK = timedelta(milliseconds=1)
AT_ONCE = "another version was put at the same moment: look at it, and put again"

log = structlog.get_logger()


@dataclass(frozen=True)
class PutPolicy:
    """The version that is in force now; `is_repeat` if it had these rules before, and nothing new was stored."""

    policy: PolicyChanged
    is_repeat: bool


@dataclass(frozen=True)
class PolicyPorts:
    """The servers and the outbox that policies are put through."""

    store: ObjectStore
    events: EventLog
    outbox: Outbox
    reached: Reached = pass_by


class Policies:
    """The putting of policies by one process."""

    def __init__(self, ports: PolicyPorts) -> None:
        self._ports = ports

    async def put(self, request: PolicyRequest) -> PutPolicy:
        """Store the rules of a request as the policy's next version, and publish it.

        Rules that are in force already are published again, and nothing is stored. Raises BadPolicy for rules that
        cannot be put, Problem for another request that cannot be carried out, Unavailable for one that may be carried
        out when it is sent again: its object may exist already, the outbox then publishes it.
        """
        check(request)
        rules = rules_in(cast("PolicyKind", request.kind), request.document)
        async with within(CLOCK_S):
            await self._ports.store.learn_time()
        put = await self._put(request, rules)
        policy = put.policy
        what = {"tenant": policy.tenant, "kind": policy.kind, "name": policy.name, "version": policy.version}
        log.info("policy_put", **what, is_repeat=put.is_repeat)
        return put

    async def _put(self, request: PolicyRequest, rules: tuple[PolicyRule, ...]) -> PutPolicy:
        store, tenant = self._ports.store, request.tenant
        found = await versions(store, tenant, request.kind)
        policies = {policy.name: policy for policy in await newest_of(store, tenant, found)}
        last, before = found.get((request.kind, request.name), [0])[-1], policies.get(request.name)
        if before is not None and before.rules == rules:
            return await self._repeat(before)
        _expect(request, last)
        version = self._version(request, last + 1, before, rules)
        in_force = {name: policy.rules for name, policy in {**policies, request.name: version}.items()}
        # In a thread: many rules may take a second, in which a door has others to serve.
        if dead := await asyncio.to_thread(dead_rules, version.kind, version.name, in_force):
            raise BadPolicy(dead)
        return await self._store(version)

    def _version(
        self, request: PolicyRequest, number: int, before: PolicyChanged | None, rules: tuple[PolicyRule, ...]
    ) -> PolicyChanged:
        return PolicyChanged(
            event_id=event_id(request.tenant, request.kind, request.name, str(number)),
            tenant=request.tenant,
            occurred_at=self._moment(before),
            kind=cast("PolicyKind", request.kind),
            name=request.name,
            version=number,
            who=request.who,
            why=request.why,
            rules=rules,
        )

    def _moment(self, before: PolicyChanged | None) -> datetime:
        """Return the store's time, or later than the version before: that one's clock may have been fast."""
        now = self._ports.store.now()
        return max(now, before.occurred_at + TICK) if before else now

    async def _store(self, version: PolicyChanged) -> PutPolicy:
        upload, ports = POLICIES.upload_of(version), self._ports
        with intended(ports.outbox, POLICY, upload.key, ports.reached):
            is_new = await ports.store.put(Bucket.HOT, upload)
            ports.reached("after_put")
            put = PutPolicy(version, is_repeat=False) if is_new else await self._stored(version, upload.key)
            await self._publish(version)
        return put

    async def _repeat(self, version: PolicyChanged) -> PutPolicy:
        """Publish a stored version again. Its intent has another look for a newer version if this process dies before it does."""
        ports = self._ports
        with intended(ports.outbox, POLICY, POLICIES.key_of(version), ports.reached):
            await self._publish(version)
        return PutPolicy(version, is_repeat=True)

    async def _stored(self, version: PolicyChanged, key: str) -> PutPolicy:
        """Return the version that somebody has stored under this key in the meantime; raises Problem if it has other rules."""
        stored = await readable(self._ports.store, key)
        if stored is None or stored.rules != version.rules:
            raise Problem(409, "other-version", AT_ONCE)
        return PutPolicy(stored, is_repeat=True)

    async def _publish(self, version: PolicyChanged) -> None:
        """Publish the newest version of the policy, which is this one or has replaced it already."""
        key = POLICIES.key_of(version)
        try:
            async with within(ANNOUNCE_S):
                publish = partial(self._ports.events.publish, POLICY_CHANGED)
                await publish_newest(publish, partial(newest_since, self._ports.store, key))
        except Rejected as error:
            raise Problem(409, "other-version", "a newer version cannot be read: put the rules again") from error


def _expect(request: PolicyRequest, last: int) -> None:
    """Raise Problem if the last version is not the one that the request replaces, or no number is left."""
    if request.if_version not in (None, last):
        there_is = f"version {last} is in force" if last else "there is no version yet"
        raise Problem(409, "other-version", f"{there_is}: look at it, and put again")
    if last >= MOST_VERSIONS:
        raise Problem(
            409, "too-many-versions", f"a policy has at most {MOST_VERSIONS} versions: put it under a new name"
        )
