"""Gray samples become tones by the formulas of PS3.3 C.11."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from operators.imaging.gray import GrayTransform, LookUpTable, Rescale, Window, tones

RAMP = np.arange(-2000, 3000, dtype=np.int16).reshape(50, 100)


@pytest.mark.parametrize(
    ("window", "value", "wanted"),
    [
        (Window(40, 400), -160, 0),
        (Window(40, 400), 239, 255),
        (Window(40, 400), 39, 127),
        (Window(2048, 4096), 0, 0),
        (Window(2048, 4096), 4095, 255),
        (Window(100, 1), 99, 0),
        (Window(100, 1), 100, 255),
        (Window(0, 100, "LINEAR_EXACT"), 0, 128),
        (Window(0, 100, "LINEAR_EXACT"), 50, 255),
        (Window(0, 100, "LINEAR_EXACT"), -50, 0),
        (Window(0, 100, "SIGMOID"), 0, 128),
        (Window(0, 100, "SIGMOID"), 50, round(255 / (1 + np.exp(-2)))),
    ],
)
def test_a_window_follows_the_formulas_of_ps3_3_c_11_2_1_2(window: Window, value: int, wanted: int) -> None:
    (tone,) = tones(np.array([value], np.int16), GrayTransform(voi=window))

    assert abs(int(tone) - wanted) <= 1


@given(
    arrays(np.int16, 40),
    st.floats(-3000, 3000),
    st.floats(1, 5000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    st.booleans(),
)
def test_tones_rise_with_the_samples_for_every_type_of_sample(
    samples: NDArray[np.int16],
    center: float,
    width: float,
    function: str,
    is_inverse: bool,  # noqa: FBT001
) -> None:
    transform = GrayTransform(Rescale(2, -1000), Window(center, width, function), is_inverse)
    together = tones(samples, transform)
    rising = together[np.argsort(samples, kind="stable")].astype(int)

    assert (np.diff(rising) * (-1 if is_inverse else 1) >= 0).all()
    assert (together == tones(samples.astype(np.float64), transform)).all()
    assert (together == tones(samples.astype(np.int32), transform)).all()


def test_without_a_window_the_samples_range_from_black_to_white_and_padding_is_black() -> None:
    plain, padded = tones(RAMP, GrayTransform()), tones(RAMP, GrayTransform(padding=(-2000, -1001)))

    assert (plain.min(), plain.max()) == (0, 255)
    assert set(padded[:10].reshape(-1)) == {0}
    assert padded[10, 0] == 0
    assert padded[10, 99] > plain[10, 99] - 255 / 5000 * 1000


def test_samples_that_are_not_a_number_are_black() -> None:
    assert tones(np.array([np.nan, 0.0, 1.0, np.inf]), GrayTransform()).tolist() == [0, 0, 255, 255]


def test_a_value_beyond_the_end_of_a_table_gets_the_entry_of_that_end() -> None:
    modality = LookUpTable(10, np.array([0, 100, 4095], np.uint16), 12)
    transform = GrayTransform(modality, LookUpTable(0, np.linspace(0, 255, 4096).astype(np.uint16), 8))

    assert tones(np.array([0, 10, 11, 12, 99], np.uint16), transform).tolist() == [0, 0, 6, 255, 255]
