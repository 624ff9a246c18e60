"""Texts in the character sets of DICOM, decoded to Unicode, code extensions included (PS3.5 6.1.2)."""

import re
from functools import lru_cache
from typing import NamedTuple

from pydicom import charset

# The VRs that Specific Character Set applies to: PS3.5 6.1.2.3.
CHARACTER_SET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})

ESCAPE = b"\x1b"
ESCAPED = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
# After an escape sequence, these restore the first character set: PS3.5 6.1.2.5.3.
RESETTING = re.compile(rb"[\t\n\f\r]")
# Some writers put other characters in place of the underscore or the spaces of a defined term.
SPELLING = re.compile("^ISO.(?:(2022).)?IR.")


class Encodings(NamedTuple):
    """The encodings of a Specific Character Set, as Python names them; `is_known` if every defined term was known."""

    names: tuple[str, ...]
    is_known: bool


class DecodedText(NamedTuple):
    """A text, and whether every byte of it could be decoded; bytes that could not became U+FFFD."""

    text: str
    is_exact: bool


DEFAULT_REPERTOIRE = (charset.default_encoding,)


@lru_cache(maxsize=256)
def encodings_of(character_set: str) -> Encodings:
    """Look up the defined terms of a Specific Character Set, separated by backslashes (PS3.3 C.12.1.1.2).

    An unknown term counts as the default repertoire: no sender may choose among Python's codecs.
    """
    terms = character_set.split("\\")
    first, *others = (_corrected(term) for term in terms)
    is_alone = first in charset.STAND_ALONE_ENCODINGS
    used = [first] if is_alone else [first, *(term for term in others if term not in charset.STAND_ALONE_ENCODINGS)]
    names = tuple(charset.python_encoding.get(term, charset.default_encoding) for term in used)
    return Encodings(names, all(term in charset.python_encoding for term in terms) and len(used) == len(terms))


def _corrected(term: str) -> str:
    return SPELLING.sub(lambda found: "ISO 2022 IR " if found[1] else "ISO_IR ", term)


def decode(raw: bytes, encodings: tuple[str, ...]) -> DecodedText:
    """Decode a text in which escape sequences switch between these encodings (PS3.5 6.1.2.5)."""
    pieces = [_piece(piece, encodings) for piece in ESCAPED.findall(raw)]
    return DecodedText("".join(piece.text for piece in pieces), all(piece.is_exact for piece in pieces))


def _piece(raw: bytes, encodings: tuple[str, ...]) -> DecodedText:
    """Decode bytes that may begin with an escape sequence; after an unknown one the first encoding still applies."""
    length = 4 if raw.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = charset.CODES_TO_ENCODINGS.get(raw[:length], encodings[0])
    try:
        if not raw.startswith(ESCAPE):
            return DecodedText(raw.decode(encodings[0]), True)
        if encoding in charset.handled_encodings and encoding in encodings:
            return DecodedText(raw.decode(encoding), True)
        if encoding in {*encodings, charset.default_encoding} and raw[:length] in charset.CODES_TO_ENCODINGS:
            extended, reset = _split_at_reset(raw[length:])
            return DecodedText(extended.decode(encoding) + reset.decode(encodings[0]), True)
    except UnicodeError:
        pass
    return DecodedText(raw.decode(encodings[0], "replace"), False)


def _split_at_reset(raw: bytes) -> tuple[bytes, bytes]:
    found = RESETTING.search(raw)
    end = found.start() if found else len(raw)
    return raw[:end], raw[end:]
