"""The principal on whose behalf data is read or stored, and the rule on what it may do."""

from dataclasses import dataclass

ACTIONS = frozenset({"read", "store", "command"})


class NotAllowed(Exception):
    """A request that a rule refuses: `reason` is the rule's code, `advice` says how to comply with the rule."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True)
class Principal:
    """A known requestor: the tenant whose data it may reach, its name, and the evidence for that name."""

    tenant: str
    name: str
    known_by: str


def authorize(principal: Principal, action: str, resource: str) -> None:
    """Return if the principal may do `action`, else raise NotAllowed. Without roles yet, all may read, store and command."""
    if action not in ACTIONS or not resource:
        raise NotAllowed("not-allowed", f"read, store or command a resource: {principal.name} may do nothing else")
