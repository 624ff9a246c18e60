"""Only terms of the standard are passed on."""

import pytest
from pydicom.sr.codedict import codes as pydicoms

from operators.deidentify.codes import BODY_PARTS, MODALITIES, known


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("CT", "CT"),
        (" ct ", "CT"),
        ("DOE^JANE", "other"),
        ("CT DOE", "other"),
        ("CT\\MR", "other"),
        ("", None),
        (" ", None),
        (None, None),
    ],
)
def test_a_text_that_is_no_term_is_other(text: str | None, code: str | None) -> None:
    assert known(text, MODALITIES) == code


def test_every_modality_of_the_standard_is_known() -> None:
    assert {code.value for code in pydicoms.cid33.concepts.values()} <= MODALITIES


def test_every_term_is_a_code_string() -> None:
    assert all(term == term.upper() and len(term) <= 16 for term in MODALITIES | BODY_PARTS)
