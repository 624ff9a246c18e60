"""Who asks for something to be changed, and why: what every such request says, and what is wrong with one that does not."""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from operators.http.problem import Problem
from schemas.objects import TENANT

WHO_CHARACTERS, WHY_CHARACTERS = 256, 1024
# Controls, and the halves of surrogate pairs, which UTF-8 does not have.
NO_TEXT = ("Cc", "Cs")


class ReasonedRequest(Protocol):
    """A request of somebody for a reason, about something of one tenant."""

    @property
    def tenant(self) -> str:
        """Return the tenant."""

    @property
    def who(self) -> str:
        """Return the name of who asks."""

    @property
    def why(self) -> str:
        """Return the reason."""


T = TypeVar("T", bound=ReasonedRequest)
# Reason, advice, and True for a request that keeps the rule.
Rule = tuple[str, str, Callable[[T], bool]]


def check(request: T, rules: Sequence[Rule[T]]) -> None:
    """Raise Problem for a request that can never be carried out: the first rule that it breaks, of all and of its own."""
    for reason, advice, is_kept in (*RULES, *rules):
        if not is_kept(request):
            raise Problem(400, reason, advice)


def is_line(text: str, most: int) -> bool:
    """True if a text says something, in at most `most` characters, none of them a control character."""
    return (
        0 < len(text) <= most and bool(text.strip()) and not any(unicodedata.category(one) in NO_TEXT for one in text)
    )


RULES: tuple[Rule[ReasonedRequest], ...] = (
    ("bad-tenant", "a tenant is 1 to 32 of a-z, 0-9 and -", lambda it: TENANT.fullmatch(it.tenant) is not None),
    ("bad-who", "say who asks, in 1 to 256 characters on one line", lambda it: is_line(it.who, WHO_CHARACTERS)),
    ("bad-why", "say why, in 1 to 1024 characters on one line", lambda it: is_line(it.why, WHY_CHARACTERS)),
)
