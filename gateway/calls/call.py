"""A REST call that changes something, as a value: where it is sent, what it says, and what carries it out."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from operators.access.principal import Principal


@dataclass(frozen=True)
class CallAnswer:
    """What a call is answered: its status, and the values of its JSON."""

    status: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class CallMade:
    """A call that was made: by whom, the named parts of its address, and what its body says; nothing that is null."""

    principal: Principal
    place: Mapping[str, str]
    said: Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One call. `fields` are what its body may say, and of which type each is; a body has at most `most_bytes`.

    `what` names the call in an error's text, such as "a command". `carry_out` raises Problem for what cannot be done.
    `answered_elsewhere` are the methods that the read API answers at the same address.
    """

    what: str
    method: str
    path: re.Pattern[str]
    most_bytes: int
    fields: Mapping[str, type]
    carry_out: Callable[[CallMade], Awaitable[CallAnswer]]
    answered_elsewhere: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """Return the methods that the address answers, as the header Allow lists them."""
        return ", ".join(sorted({"OPTIONS", self.method, *self.answered_elsewhere}))
