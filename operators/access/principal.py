"""The one on whose behalf something is read or stored, and the rule of what that one may do."""

from dataclasses import dataclass

ACTIONS = frozenset({"read", "store"})


class NotAllowed(Exception):
    """A request that a rule refuses: `reason` is the rule's code, `advice` says how to keep it."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True)
class Principal:
    """A known requestor: the tenant whose data it reaches, its name, and how that name is known."""

    tenant: str
    name: str
    known_by: str


def authorize(principal: Principal, action: str, resource: str) -> None:
    """Return when the principal may do this; raises NotAllowed. There are no roles yet: all may read and store."""
    if action not in ACTIONS or not resource:
        raise NotAllowed("not-allowed", f"{principal.name} may read and store only")
