"""A request for rules to be in force as a policy, and what is wrong with one that cannot be carried out."""

from dataclasses import dataclass, field

from gateway import asking
from gateway.asking import Rule
from operators.policies.kinds import KINDS, kind_named
from schemas.objects import MOST_VERSIONS, POLICY_NAME


@dataclass(frozen=True, kw_only=True)
class PolicyRequest:
    """Who wants which rules in force as the policy of this kind and name, and why.

    `document` is the rules as JSON. `if_version` is the version that they replace, 0 if there must be none; None
    replaces any.
    """

    tenant: str
    kind: str
    name: str
    who: str
    why: str = field(repr=False)
    document: bytes = field(repr=False)
    if_version: int | None = None


def check(request: PolicyRequest) -> None:
    """Raise Problem for a request that can never be carried out, whatever its rules are."""
    asking.check(request, RULES)


def _is_version(version: object) -> bool:
    return version is None or (type(version) is int and 0 <= version <= MOST_VERSIONS)


RULES: tuple[Rule[PolicyRequest], ...] = (
    ("bad-kind", f"a kind is one of {', '.join(KINDS)}", lambda it: kind_named(it.kind) is not None),
    (
        "bad-name",
        "a policy's name has 1 to 64 of a-z, 0-9 and -, and does not begin with -",
        lambda it: POLICY_NAME.fullmatch(it.name) is not None,
    ),
    (
        "bad-version",
        f"a version is a whole number to {MOST_VERSIONS}; 0: there is none yet",
        lambda it: _is_version(it.if_version),
    ),
)
