"""Names and texts in generated character sets, written as PS3.5 6.1.2.5 has it, with the Unicode that they stand for.

The bytes are made by Python's codecs for encoding, one character set at a time; the reader is not used.
"""

from dataclasses import dataclass
from random import Random

# What each set adds to ASCII: some of its characters, the codec that writes them, and what that puts around them.
CHARACTERS: dict[str, tuple[str, str, bytes, bytes]] = {
    "100": ("äéñçßÿ", "latin_1", b"\x1b-A", b""),
    "101": ("łőžšćď", "iso8859_2", b"\x1b-B", b""),
    "109": ("ħĝĉżŭ", "iso8859_3", b"\x1b-C", b""),
    "110": ("ąķģūđ", "iso8859_4", b"\x1b-D", b""),
    "144": ("Люксембурґ"[:9], "iso8859_5", b"\x1b-L", b""),
    "127": ("قباني", "iso8859_6", b"\x1b-G", b""),
    "126": ("Διονυσιος", "iso8859_7", b"\x1b-F", b""),
    "138": ("שרון", "iso8859_8", b"\x1b-H", b""),
    "148": ("ğışöü", "iso8859_9", b"\x1b-M", b""),
    "203": ("€žœŸ", "iso8859_15", b"\x1b-b", b""),
    "166": ("สมชาย", "iso8859_11", b"\x1b-T", b""),
    "13": ("ﾔﾏﾀﾞﾛｳ", "shift_jis", b"\x1b)I", b""),
    "149": ("김희중洪吉洞ㅊ", "euc_kr", b"\x1b$)C", b""),
    "58": ("王丽张头小东", "gb2312", b"\x1b$)A", b""),
    # The bytes 5C, 5E and 3D are in some of these, where they are no delimiters.
    "87": ("山田太郎能表十ソ", "iso2022_jp", b"\x1b$B", b"\x1b(B"),
    "159": ("丂丄丅亹", "iso2022_jp_2", b"\x1b$(D", b"\x1b(B"),
}
SINGLE_BYTE = tuple(number for number in CHARACTERS if number not in {"58", "87", "149", "159"})
ALONE = {"ISO_IR 192": "utf_8", "GB18030": "gb18030", "GBK": "gbk"}
ALONE_CHARACTERS = "王丽乗亅俓é頭"
# Ways in which senders write a defined term wrongly: the result must be the same text.
SPELLINGS = (
    lambda term: term,
    str.lower,
    lambda term: term.replace("_", " "),
    lambda term: term.replace(" ", "_"),
    lambda term: term.replace("_", "-").replace(" ", "-"),
    lambda term: term.replace("_", "").replace(" ", ""),
    lambda term: f" {term} ",
)


@dataclass(frozen=True)
class WrittenText:
    """A Specific Character Set, bytes written in it, and the text that they stand for."""

    terms: str
    raw: bytes
    text: str


def extended(random: Random, delimiters: str) -> WrittenText:
    """Return a text in a set with code extensions; each piece between delimiters begins in the first set."""
    first = random.choice(("6", *SINGLE_BYTE))
    others = random.sample([number for number in CHARACTERS if number != first], random.randint(1, 3))
    raw, text = b"", ""
    for delimiter in ["", *random.choices(delimiters, k=random.randint(0, 5))]:
        raw, text = raw + delimiter.encode(), text + delimiter
        for more, shown in (_plain(random, first), _switched(random, random.choice(others))):
            raw, text = raw + more, text + shown
    first_term = f"ISO 2022 IR {first}" if first != "6" else random.choice(("", "ISO 2022 IR 6"))
    return WrittenText("\\".join([first_term, *(f"ISO 2022 IR {number}" for number in others)]), raw, text)


def single(random: Random, delimiters: str) -> WrittenText:
    """Return a text in a set of single bytes, or in one that stands alone, without code extensions."""
    term = random.choice((*ALONE, *(f"ISO_IR {number}" for number in SINGLE_BYTE)))
    number = term.removeprefix("ISO_IR ")
    codec = ALONE.get(term) or CHARACTERS[number][1]
    characters = ALONE_CHARACTERS if term in ALONE else CHARACTERS[number][0]
    text = "".join(random.choices(characters + "ab" + delimiters, k=random.randint(1, 12)))
    return WrittenText(term, text.encode(codec), text)


def _plain(random: Random, first: str) -> tuple[bytes, str]:
    characters, codec, _, _ = CHARACTERS.get(first, ("", "ascii", b"", b""))
    text = "".join(random.choices(characters + "Ab", k=random.randint(0, 4)))
    return text.encode(codec), text


def _switched(random: Random, number: str) -> tuple[bytes, str]:
    """Return some characters of another set; one in the lower bytes is left again before a delimiter."""
    characters, codec, begin, end = CHARACTERS[number]
    text = "".join(random.choices(characters, k=random.randint(0, 4)))
    if not text:
        return b"", ""
    return begin + text.encode(codec).removeprefix(begin).removesuffix(end) + end, text


def misspelt(random: Random, terms: str) -> str:
    """Return defined terms as some sender might write them."""
    return "\\".join(random.choice(SPELLINGS)(term) for term in terms.split("\\"))
