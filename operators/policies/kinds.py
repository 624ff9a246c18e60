"""The kinds of policies: the facts that the rules of each may ask for, and what they may have done."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast, get_args

from schemas.events import PolicyKind
from schemas.objects import POLICY_NAME, TIERS

VERSION = re.compile(r"[1-9][0-9]{0,5}")
# What loses nothing: Explicit VR Little Endian, RLE, JPEG-LS, JPEG 2000 and HTJ2K, the last without and with RPCL.
LOSSLESS = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
)


@dataclass(frozen=True)
class Argument:
    """One entry of a rule's `then`: what it may be, in words and as a pattern of the whole text."""

    meaning: str
    pattern: re.Pattern[str]
    is_required: bool = True


@dataclass(frozen=True)
class Kind:
    """What policies of one kind may ask and do.

    If `each_decides`, every policy of the kind decides for itself; else they are asked in the order of their names, and
    the first rule that a study meets decides alone.
    """

    meaning: str
    facts: frozenset[str]
    then: Mapping[str, Argument]
    each_decides: bool = False


def _one_of(*texts: str) -> Argument:
    return Argument(f"one of {', '.join(texts)}", re.compile("|".join(map(re.escape, texts))))


EVERYWHERE = frozenset({"modality", "body_part", "sop_class", "instances", "series", "size_bytes"})
NAME = "1 to 64 of a-z, 0-9 and -, the first no -"
KINDS: Mapping[PolicyKind, Kind] = {
    "inference": Kind(
        "which models see a study when it has settled",
        EVERYWHERE | {"revision"},
        {
            "model": Argument(f"the model's name, {NAME}", POLICY_NAME),
            "version": Argument("the model's version, a whole number from 1 as a text", VERSION),
            "priority": Argument("routine or stat; routine unless it is said", re.compile("routine|stat"), False),
        },
        each_decides=True,
    ),
    "tiering": Kind("in which tier a study lies", EVERYWHERE | {"settled_s"}, {"tier": _one_of(*TIERS)}),
    "conversion": Kind(
        "in which transfer syntax a study is kept",
        EVERYWHERE | {"settled_s"},
        {"transfer_syntax": _one_of(*LOSSLESS)},
    ),
}


def kind_named(name: str) -> PolicyKind | None:
    """Return the kind of this name, None if there is none."""
    return cast("PolicyKind", name) if name in get_args(PolicyKind) else None
