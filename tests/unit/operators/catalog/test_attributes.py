"""A row's DICOM JSON."""

from operators.catalog.attributes import requests


def test_the_items_come_back_as_a_sequence() -> None:
    assert requests("S1\\", "R1\\R2") == [
        {"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["R1"]}},
        {"00400009": {"vr": "SH"}, "00401001": {"vr": "SH", "Value": ["R2"]}},
    ]
    assert requests(None, None) is None
