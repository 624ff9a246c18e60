"""Texts in every character set of DICOM: any bytes are decoded, and a fault is reported."""

import pytest

from operators.dicom.text import decode, encodings_of

# Bytes, Specific Character Set: text, whether every byte belonged to it, whether every term was known.
TEXTS: dict[str, tuple[bytes, str, str, bool, bool]] = {
    "the default repertoire": (b"A^B", "", "A^B", True, True),
    "Latin 1": (b"Buc^J\xe9r\xf4me", "ISO_IR 100", "Buc^Jérôme", True, True),
    "UTF-8": ("王^小東".encode(), "ISO_IR 192", "王^小東", True, True),
    "GB 18030": ("王".encode("gb18030"), "GB18030", "王", True, True),
    "Japanese by code extensions": (
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
        "\\ISO 2022 IR 87",
        "Yamada^Tarou=山田^太郎",
        True,
        True,
    ),
    "Korean by code extensions": (
        b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
        "\\ISO 2022 IR 149",
        "Hong=洪^吉洞",
        True,
        True,
    ),
    "a line break ends an extension": (b"\x1b-F\xc4\r\nx", "\\ISO 2022 IR 126", "Δ\r\nx", True, True),
    "bytes outside the set": (b"A\xff", "ISO_IR 192", "A\ufffd", False, True),
    "an unknown escape sequence": (b"\x1b%1A", "ISO_IR 100", "\x1b%1A", False, True),
    "an unknown set": (b"AB", "KLINGON", "AB", True, False),
    "a codec of Python is no set": (b"+AGE-", "utf-7", "+AGE-", True, False),
    "a misspelt set": (b"\xe9", "ISO-IR 100", "é", True, False),
    "a set that must stand alone": ("é".encode(), "ISO_IR 192\\ISO 2022 IR 100", "é", True, False),
}


@pytest.mark.parametrize("claim", TEXTS)
def test_a_text_is_decoded_by_its_character_set(claim: str) -> None:
    raw, character_set, text, is_exact, is_known = TEXTS[claim]
    encodings = encodings_of(character_set)

    assert decode(raw, encodings.names) == (text, is_exact)
    assert encodings.is_known == is_known
