"""The one reader of text: character sets decoded to Unicode, code extensions included, and padding left out.

Queries, the catalog and metadata all read text here, so that they show one value. Source: PS3.5 6.1.2 and 6.2, PS3.3
C.12.1.1.2.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar, NamedTuple, cast

# The VRs that Specific Character Set applies to: PS3.5 6.1.2.3.
CHARACTER_SET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
# The VRs whose value is one text, in which a backslash is no delimiter; and those whose leading spaces count.
ONE_TEXT_VRS = frozenset({"LT", "ST", "UR", "UT"})
TRAILING_PADDING_VRS = ONE_TEXT_VRS | {"DA", "DT", "TM", "UC", "UI"}
PADDING = " \0"
# The part of a Specific Character Set that is read, in characters: 16 characters for every defined term and more.
MOST_TERMS = 1024
COMPONENT_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

# Decodes bytes of one graphic character set; the second argument is the name of a codec's error handler.
Decoder = Callable[[bytes, str], str]


class DecodedText(NamedTuple):
    """A text, and whether its bytes are what its character set allows; bytes that mean nothing became U+FFFD."""

    text: str
    is_exact: bool


class GraphicSet(NamedTuple):
    """A set of graphic characters. `is_high` if it has the bytes from 0x80 on (G1), else the lower ones (G0).

    `is_double` if two bytes below 0x80 are a character, so that a byte of it may look like a delimiter.
    """

    decoder: Decoder
    is_high: bool = True
    is_double: bool = False


def _by_codec(codec: str) -> Decoder:
    return lambda raw, errors: raw.decode(codec, errors)


def _romaji(raw: bytes, errors: str) -> str:
    """Decode the lower half of JIS X 0201, which has a yen sign and an overline in two places of ASCII."""
    return raw.decode("ascii", errors).replace("\\", "\u00a5").replace("~", "\u203e")


def _jis_x_0208(raw: bytes, errors: str) -> str:
    return raw.translate(HIGH).decode("euc_jp", errors)


def _jis_x_0212(raw: bytes, errors: str) -> str:
    pairs = re.findall(b"..?", raw.translate(HIGH), re.DOTALL)
    return b"".join(b"\x8f" + pair for pair in pairs).decode("euc_jp", errors)


HIGH = bytes(byte | 0x80 for byte in range(256))
ASCII = GraphicSet(_by_codec("ascii"), is_high=False)
ROMAJI = GraphicSet(_romaji, is_high=False)
LATIN_1 = GraphicSet(_by_codec("latin_1"))

# The sets that an escape sequence designates: PS3.3 tables C.12-3 and C.12-4. The bytes after ESC.
DESIGNATED: dict[bytes, GraphicSet] = {
    b"(B": ASCII,
    b"(J": ROMAJI,
    b")I": GraphicSet(_by_codec("shift_jis")),
    b"-A": LATIN_1,
    b"-B": GraphicSet(_by_codec("iso8859_2")),
    b"-C": GraphicSet(_by_codec("iso8859_3")),
    b"-D": GraphicSet(_by_codec("iso8859_4")),
    b"-L": GraphicSet(_by_codec("iso8859_5")),
    b"-G": GraphicSet(_by_codec("iso8859_6")),
    b"-F": GraphicSet(_by_codec("iso8859_7")),
    b"-H": GraphicSet(_by_codec("iso8859_8")),
    b"-M": GraphicSet(_by_codec("iso8859_9")),
    b"-b": GraphicSet(_by_codec("iso8859_15")),
    b"-T": GraphicSet(_by_codec("iso8859_11")),
    b"$B": GraphicSet(_jis_x_0208, is_high=False, is_double=True),
    b"$(D": GraphicSet(_jis_x_0212, is_high=False, is_double=True),
    b"$)A": GraphicSet(_by_codec("gb2312")),
    b"$)C": GraphicSet(_by_codec("euc_kr")),
}
# The escape sequences of each set, by the number in its defined term: PS3.3 tables C.12-2 to C.12-4.
DESIGNATIONS: dict[str, tuple[bytes, ...]] = {
    "6": (b"(B",),
    "13": (b"(J", b")I"),
    "58": (b"$)A",),
    "87": (b"$B",),
    "100": (b"-A",),
    "101": (b"-B",),
    "109": (b"-C",),
    "110": (b"-D",),
    "126": (b"-F",),
    "127": (b"-G",),
    "138": (b"-H",),
    "144": (b"-L",),
    "148": (b"-M",),
    "149": (b"$)C",),
    "159": (b"$(D",),
    "166": (b"-T",),
    "203": (b"-b",),
}
DOUBLE = frozenset({"58", "87", "149", "159"})
# The codecs of the sets that have no code extensions: PS3.3 table C.12-5.
ALONE = {"192": "utf_8", "GB18030": "gb18030", "GBK": "gbk"}
DEFINED_TERMS = frozenset(
    {"", "ISO_IR 192", "GB18030", "GBK", *(f"ISO 2022 IR {number}" for number in DESIGNATIONS)}
    # ISO_IR 6 is no defined term, but means the default repertoire beyond doubt.
    | {f"ISO_IR {number}" for number in DESIGNATIONS if number not in DOUBLE}
)
# What some writers put in place of a defined term, without case and without all but letters and digits.
SPELLING = re.compile(r"(?:ISO)?(?:2022)?IR([0-9]+)")
OTHER_NAMES = {
    "": "6",
    "UTF8": "192",
    "GB2312": "GBK",
    "ISO2022GBK": "GBK",
    "ISO202258": "58",
    "LATIN1": "100",
    **dict(zip((f"ISO8859{part}" for part in (1, 2, 3, 4)), ("100", "101", "109", "110"), strict=True)),
    **dict(zip((f"ISO8859{part}" for part in (5, 6, 7, 8)), ("144", "127", "126", "138"), strict=True)),
    **dict(zip((f"ISO8859{part}" for part in (9, 11, 15)), ("148", "166", "203"), strict=True)),
}


@dataclass(frozen=True)
class CharacterSet:
    """A Specific Character Set. `codec` is Python's name of a set without code extensions, else empty.

    `low` and `high` are the sets in use where a text begins, and again after each reset (PS3.5 6.1.2.5.3); `high` is
    None in the default repertoire. `declared` has the escape sequences that may occur. `is_known` if every term is a
    defined one and has its place.
    """

    codec: str = ""
    low: GraphicSet = ASCII
    high: GraphicSet | None = None
    declared: frozenset[bytes] = frozenset({b"(B"})
    is_known: bool = True

    @property
    def has_ascii(self) -> bool:
        """True if bytes below 0x80 without ESC mean what they mean in ASCII."""
        return self.low is ASCII


DEFAULT_REPERTOIRE = CharacterSet()


@lru_cache(maxsize=256)
def character_set_of(terms: str) -> CharacterSet:
    """Return the character set of defined terms, separated by backslashes (PS3.3 C.12.1.1.2).

    Misspelt terms count as what they mean. Any other unknown term counts as the default repertoire: no sender may
    choose among Python's codecs. After the default repertoire, a set that stands alone takes its place.
    """
    given = [term.strip(PADDING) for term in terms[:MOST_TERMS].split("\\")]
    numbers = [_number(term) for term in given]
    is_known = DEFINED_TERMS.issuperset(given)
    first = next((number for number in numbers if number != "6"), "6")
    if first in ALONE:
        return CharacterSet(ALONE[first], is_known=is_known and len(given) == 1)
    escapes = [escape for number in ("6", *numbers) for escape in DESIGNATIONS.get(number, ())]
    sets = [DESIGNATED[escape] for escape in DESIGNATIONS[numbers[0]]]
    low = next((each for each in sets if not each.is_high and not each.is_double), ASCII)
    high = next((each for each in sets if each.is_high), None)
    return CharacterSet("", low, high, frozenset(escapes), is_known and not ALONE.keys() & numbers)


def _number(term: str) -> str:
    """Return the number of the set that a term means, or its name if it has no number; 6 for an unknown term."""
    name = re.sub("[^A-Z0-9]", "", term.upper())
    found = SPELLING.fullmatch(name)
    number = found[1] if found else OTHER_NAMES.get(name, name)
    return number if number in DESIGNATIONS or number in ALONE else "6"


def read_text(raw: bytes, vr: str, character_set: CharacterSet) -> DecodedText:
    """Decode an element's text; leave out the padding of each of its values, and NUL, which is in no character set.

    Several values are separated by backslashes in the result, as they are in the element.
    """
    used = character_set if vr in CHARACTER_SET_VRS else DEFAULT_REPERTOIRE
    text, is_exact = decode(raw, used, DELIMITERS.get(vr, b"\\"))
    if "\0" in text:
        text = text.rstrip(PADDING).replace("\0", "")
    trim = str.rstrip if vr in TRAILING_PADDING_VRS else str.strip
    if vr in ONE_TEXT_VRS or "\\" not in text:
        return DecodedText(trim(text, PADDING), is_exact)
    return DecodedText("\\".join(trim(part, PADDING) for part in text.split("\\")), is_exact)


def name_groups(name: str) -> dict[str, str]:
    """Return the component groups of one person name by their names in DICOM JSON, without the empty ones.

    More than three groups are against the standard; the third then has the rest, so that nothing is lost.
    """
    groups = [group.strip(" ") for group in name.split("=", len(COMPONENT_GROUPS) - 1)]
    return {key: group for key, group in zip(COMPONENT_GROUPS, groups, strict=False) if group}


# The delimiters before which the first sets are in use again, by VR: PS3.5 6.1.2.5.3.
DELIMITERS = {"PN": b"\\^=", **dict.fromkeys(ONE_TEXT_VRS, b"")}


def decode(raw: bytes, character_set: CharacterSet, delimiters: bytes = b"") -> DecodedText:
    """Decode a text in which escape sequences may switch between sets, until a control character or a delimiter."""
    if character_set.codec:
        return _strictly(partial(str, raw, character_set.codec))
    if character_set.low is ASCII and raw.isascii() and b"\x1b" not in raw:
        return DecodedText(raw.decode("ascii"), True)
    found = _Extended(character_set, delimiters).decode(raw)
    if character_set.low is ROMAJI and not found.is_exact:
        # Writers that name JIS X 0201 and mean Shift JIS, which has the same single bytes.
        shifted = _strictly(partial(str, raw, "cp932"))
        return shifted._replace(is_exact=False) if shifted.is_exact else found
    return found


def _strictly(decoder: Callable[[str], str]) -> DecodedText:
    """Decode by a function of an error handler's name; only if that fails, with U+FFFD."""
    try:
        return DecodedText(decoder("strict"), True)
    except UnicodeError:
        return DecodedText(decoder("replace"), False)


@lru_cache
def _tokens(delimiters: bytes, *, is_double: bool) -> "re.Pattern[bytes]":
    """Return the pattern of what can come next: an escape sequence, upper bytes, an end of designations, lower bytes.

    The bytes of a double-byte set may look like delimiters; a control character ends that set too.
    """
    ends = b"" if is_double else b"".join(re.escape(delimiters[at : at + 1]) for at in range(len(delimiters)))
    other = b"\x1b\x20" if is_double else b"\x1b"
    return re.compile(
        b"(?P<escape>\x1b[\x20-\x2f]+[\x30-\x7e])|(?P<high>[\x80-\xff]+)|(?P<end>[\x00-\x1a\x1c-\x1f%b])"
        b"|(?P<low>[^\x00-\x1f\x80-\xff%b%b]+)|(?P<other>[%b])" % (ends, other, ends, other)
    )


class _Extended:
    """The decoder of a text with code extensions: `low` and `high` are the sets in use (PS3.5 6.1.2.5)."""

    def __init__(self, character_set: CharacterSet, delimiters: bytes) -> None:
        self.set, self.delimiters = character_set, delimiters
        self.low, self.high = character_set.low, character_set.high
        # What upper bytes mean where no set is in use for them: the set that was designated last, before that the only
        # one that could have been, else Latin 1.
        declared = [each for each in map(DESIGNATED.__getitem__, character_set.declared) if each.is_high]
        self.latest = declared[0] if len(declared) == 1 else LATIN_1
        self.is_exact = True

    def decode(self, raw: bytes) -> DecodedText:
        pieces, position = [], 0
        while position < len(raw):
            # Every byte belongs to a token, so that there is always a match.
            found = cast("re.Match[bytes]", _tokens(self.delimiters, is_double=self.low.is_double).match(raw, position))
            pieces.append(self.HANDLERS[found.lastgroup or "other"](self, found[0]))
            position = found.end()
        return DecodedText("".join(pieces), self.is_exact)

    def _designate(self, sequence: bytes) -> str:
        """Use the set that a sequence designates; a sequence that designates none stays in the text."""
        found = DESIGNATED.get(sequence[1:])
        self.is_exact &= sequence[1:] in self.set.declared
        if found is None:
            return sequence.decode("ascii")
        if found.is_high:
            self.high = self.latest = found
        else:
            self.low = found
        return ""

    def _upper(self, raw: bytes) -> str:
        self.is_exact &= self.high is not None
        return self._text((self.high or self.latest).decoder, raw)

    def _lower(self, raw: bytes) -> str:
        return self._text(self.low.decoder, raw)

    def _text(self, decoder: Decoder, raw: bytes) -> str:
        text, is_exact = _strictly(partial(decoder, raw))
        self.is_exact &= is_exact
        return text

    def _end(self, raw: bytes) -> str:
        self.low, self.high = self.set.low, self.set.high
        return raw.decode("ascii")

    def _as_is(self, raw: bytes) -> str:
        self.is_exact &= raw == b" "
        return raw.decode("ascii")

    HANDLERS: ClassVar[dict[str, Callable[["_Extended", bytes], str]]] = {
        "escape": _designate,
        "high": _upper,
        "low": _lower,
        "end": _end,
        "other": _as_is,
    }
