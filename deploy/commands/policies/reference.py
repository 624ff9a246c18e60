"""What the rules of each kind of policy may ask and do, as the help of the commands says it."""

from collections.abc import Iterator

from operators.policies.facts import FACTS
from operators.policies.kinds import KINDS, Kind

NAME_WIDTH = 16


def reference() -> str:
    """Return the kinds, each with its facts and arguments, then the meaning of each fact."""
    kinds = [line for name, kind in KINDS.items() for line in (f"{name}: {kind.meaning}", *_parts(kind))]
    facts = [f"  {name:<{NAME_WIDTH}} {_asked(name)}: {fact.meaning}" for name, fact in FACTS.items()]
    return "\n".join([*kinds, "facts:", *facts])


def _parts(kind: Kind) -> Iterator[str]:
    yield f"  when: {', '.join(name for name in FACTS if name in kind.facts)}"
    yield from (f"  then: {name}, {argument.meaning}" for name, argument in kind.then.items())


def _asked(fact: str) -> str:
    return "number" if FACTS[fact].is_number else "text"
