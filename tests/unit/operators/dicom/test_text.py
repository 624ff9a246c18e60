"""Texts in every character set of DICOM: any bytes are decoded, and a fault is reported."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.dicom.part10 import part10_prefix
from operators.dicom.text import DELIMITERS, character_set_of, decode, name_groups, read_text
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from tests.support.data.character_sets import WrittenText, extended, misspelt, single
from tests.support.data.small_instances import short_element
from tests.support.machine.debian_tools import Programs

# Bytes, VR, Specific Character Set: text, whether every byte belonged to it, whether every term was a defined one.
TEXTS: dict[str, tuple[bytes, str, str, str, bool, bool]] = {
    "the default repertoire": (b"A^B", "PN", "", "A^B", True, True),
    "Latin 1": (b"Buc^J\xe9r\xf4me", "PN", "ISO_IR 100", "Buc^Jérôme", True, True),
    "Latin 9": (b"\xa4", "LO", "ISO_IR 203", "€", True, True),
    "UTF-8": ("王^小東".encode(), "PN", "ISO_IR 192", "王^小東", True, True),
    "GB 18030": ("王".encode("gb18030"), "PN", "GB18030", "王", True, True),
    "a trail byte that looks like a delimiter": (b"\x81\x5c\\\x81\x5e", "PN", "GBK", "乗\\乛", True, True),
    "Japanese by code extensions": (
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
        "PN",
        "\\ISO 2022 IR 87",
        "Yamada^Tarou=山田^太郎",
        True,
        True,
    ),
    "Japanese with a first set of its own": (
        b"\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J=\x1b$B$d\x1b(J",
        "PN",
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        "ﾔﾏﾀﾞ=山田=や",
        True,
        True,
    ),
    "Korean by code extensions": (
        b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
        "PN",
        "\\ISO 2022 IR 149",
        "Hong=洪^吉洞",
        True,
        True,
    ),
    "Chinese by code extensions": (
        b"Wang^Li=\x1b$)A\xcd\xf5^\x1b$)A\xc0\xf6=",
        "PN",
        "\\ISO 2022 IR 58",
        "Wang^Li=王^丽=",
        True,
        True,
    ),
    "a delimiter of a name restores the first set": (
        b"\xe7^\x1b$)C\xa4\xba^\xe7",
        "PN",
        "ISO 2022 IR 100\\ISO 2022 IR 149",
        "ç^ㅊ^ç",
        True,
        True,
    ),
    "a caret is no delimiter of other texts": (
        b"\x1b$)C\xa4\xba^\xa4\xba\\\xe7",
        "LO",
        "ISO 2022 IR 100\\ISO 2022 IR 149",
        "ㅊ^ㅊ\\ç",
        True,
        True,
    ),
    "a backslash in a long text is no delimiter": (
        b"\x1b$)C\xa4\xba\\\xa4\xba",
        "LT",
        "ISO 2022 IR 100\\ISO 2022 IR 149",
        "ㅊ\\ㅊ",
        True,
        True,
    ),
    "a line break ends an extension": (b"\x1b-F\xc4\r\nx", "LT", "\\ISO 2022 IR 126", "Δ\r\nx", True, True),
    "a tab ends an extension": (b"\x1b-F\xc4\t\xe9", "LT", "ISO 2022 IR 100\\ISO 2022 IR 126", "Δ\té", True, True),
    "a yen sign in the place of a backslash": (b"a\\~", "LT", "ISO_IR 13", "a¥‾", True, True),
    "a yen sign that is a delimiter": (b"a\\\xb1", "LO", "ISO_IR 13", "a\\ｱ", True, True),
    "Shift JIS under the name of JIS X 0201": (
        "山田\\表".encode("cp932"),
        "PN",
        "ISO_IR 13",
        "山田\\表",
        False,
        True,
    ),
    "a set that was not restored where none is in use": (
        b"\x1b$)C\xfb\xf3^\xd1\xce",
        "PN",
        "\\ISO 2022 IR 149",
        "洪^吉",
        False,
        True,
    ),
    "the only extension without its escape sequence": (b"\xfb\xf3", "PN", "\\ISO 2022 IR 149", "洪", False, True),
    "a set that was not declared": (b"\x1b-F\xc4", "LO", "ISO_IR 100", "Δ", False, True),
    "upper bytes in the default repertoire": (b"M\xfcller", "PN", "", "Müller", False, True),
    "bytes outside the set": (b"A\xff", "LO", "ISO_IR 192", "A\ufffd", False, True),
    "half a character": (b"\x1b$B;", "LO", "\\ISO 2022 IR 87", "\ufffd", False, True),
    "an unknown escape sequence": (b"\x1b%1A", "LO", "ISO_IR 100", "\x1b%1A", False, True),
    "an unknown set": (b"AB", "LO", "KLINGON", "AB", True, False),
    "a codec of Python is no set": (b"+AGE-", "LO", "utf-7", "+AGE-", True, False),
    "a misspelt set": (b"\xe9", "LO", "ISO-IR 100", "é", True, False),
    "another name of UTF-8": ("é".encode(), "LO", "UTF-8", "é", True, False),
    "another name of Latin 1": (b"\xe9", "LO", "ISO-8859-1", "é", True, False),
    "a set that must stand alone": ("é".encode(), "LO", "ISO_IR 192\\ISO 2022 IR 100", "é", True, False),
    "a set that stands alone after none": ("é".encode(), "LO", "\\ISO_IR 192", "é", True, False),
    "a set that stands alone among extensions": (b"\xe9", "LO", "ISO 2022 IR 100\\ISO_IR 192", "é", True, False),
    "a code has no character set": (b"M\xe9", "CS", "ISO_IR 101", "Mé", False, True),
    "padding of each value": (b" a \\ b\0", "LO", "", "a\\b", True, True),
    "leading spaces of a long text": (b"  a \n ", "LT", "", "  a \n", True, True),
    "NUL is no character": (b"a\0b", "LO", "", "ab", True, True),
}


@pytest.mark.parametrize("claim", TEXTS)
def test_a_text_is_decoded_by_its_character_set(claim: str) -> None:
    raw, vr, terms, text, is_exact, is_known = TEXTS[claim]
    character_set = character_set_of(terms)

    assert read_text(raw, vr, character_set) == (text, is_exact)
    assert character_set.is_known == is_known


@pytest.mark.parametrize("seed", range(300))
def test_a_text_in_any_character_set_is_what_was_written(seed: int) -> None:
    random = Random(seed)
    vr, delimiters = random.choice((("PN", "^=\\"), ("LO", "\\"), ("LT", "\r\n\t")))
    written = random.choice((extended, single))(random, delimiters)
    exact = decode(written.raw, character_set_of(written.terms), DELIMITERS.get(vr, b"\\"))
    spelt = decode(written.raw, character_set_of(misspelt(random, written.terms)), DELIMITERS.get(vr, b"\\"))

    assert exact == (written.text, True)
    assert spelt == exact


# 13, 87, 159 and 203 are not in this dcmtk's library of character sets; in 58 it does not end a set at a delimiter.
NOT_BY_DCMTK = ("13", "58", "87", "159", "203")


def test_dcmtk_reads_the_same_names(dcmtk: Programs, tmp_path: Path) -> None:
    random = Random(10)
    names = [random.choice((extended, single))(random, "^\\") for _ in range(200)]
    names = [name for name in names if not any(term.endswith(NOT_BY_DCMTK) for term in name.terms.split("\\"))]
    differing = [name for name in names[:50] if _by_dcmtk(dcmtk, tmp_path, name) != _groups(name)]

    assert not differing
    assert len(names) >= 50


def _groups(name: WrittenText) -> list[dict[str, str] | None]:
    text = read_text(name.raw, "PN", character_set_of(name.terms)).text
    # dcmtk leaves out the carets at the end of a name.
    groups = [name_groups(value.rstrip("^")) or None for value in text.split("\\")]
    return [] if groups == [None] else groups


def _by_dcmtk(dcmtk: Programs, folder: Path, name: WrittenText) -> list[dict[str, str] | None]:
    elements = ((0x00080005, "CS", name.terms.encode()), (0x00101001, "PN", name.raw))
    file = folder / "name.dcm"
    data_set = b"".join(short_element(tag, vr, raw + b" " * (len(raw) % 2)) for tag, vr, raw in elements)
    file.write_bytes(part10_prefix("1.2", "1.3", EXPLICIT_VR_LITTLE_ENDIAN) + data_set)
    found = json.loads(dcmtk.run("dcm2json", file).stdout)
    values: list[dict[str, str] | None] = found["00101001"].get("Value", [])
    return values


@given(st.binary(max_size=60), st.sampled_from(sorted({terms for _, _, terms, _, _, _ in TEXTS.values()})))
def test_any_bytes_are_some_text(raw: bytes, terms: str) -> None:
    for vr in ("PN", "LO", "LT", "CS"):
        assert "\x00" not in read_text(raw, vr, character_set_of(terms)).text


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("A^B", {"Alphabetic": "A^B"}),
        ("A^B =王", {"Alphabetic": "A^B", "Ideographic": "王"}),
        ("=王=", {"Ideographic": "王"}),
        ("A=B=C=D", {"Alphabetic": "A", "Ideographic": "B", "Phonetic": "C=D"}),
        ("==", {}),
    ],
)
def test_a_name_has_its_component_groups_and_nothing_is_lost(name: str, groups: dict[str, str]) -> None:
    assert name_groups(name) == groups
