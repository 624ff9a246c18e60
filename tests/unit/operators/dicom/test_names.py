"""Person names in the form that queries match: without case, accents and trailing separators."""

import pytest

from operators.dicom.names import fold


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("Müller^Jürgen", "muller^jurgen"),
        ("GROß^Anna^^^", "gross^anna"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "yamada^tarou=山田^太郎=やまた^たろう"),
        ("Ångström =", "angstrom"),
        ("=山田", "=山田"),
        ("İnci", "inci"),
    ],
)
def test_a_name_is_folded(name: str, folded: str) -> None:
    assert fold(name) == folded
