"""A failed tool is diagnosed in one line."""

import pytest

from deploy.install.diagnosis import diagnose


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Hash mismatch for `x==1`", "not the file that the lock names"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE",
            "not the file that the lock names",
        ),
        ("verifying m@v: checksum mismatch\nSECURITY ERROR", "not the file that the lock names"),
        ("kafka 4.3.1: sha256 mismatch with the lock", "not the file that the lock names"),
        ("dial tcp: lookup example: no such host", "no network"),
        ("Temporary failure in name resolution", "no network"),
        ("ERROR: Could not find a version that satisfies the requirement uv", "no network"),
        ("write: No space left on device", "the disk is full"),
        ("invalid peer certificate: UnknownIssuer", "not trusted"),
        ("The virtual environment was not created successfully because ensurepip is not available", "venv"),
        ("warming up\n1. ERROR in File.java (at line 3)\n3 problems (3 errors)", "ERROR in File.java (at line 3)"),
        ("go: downloading example/pkg/errors v0.9.1\nerror: it broke", "error: it broke"),
        ("something else\nlast words\n", "last words"),
        ("", "without a message"),
    ],
)
def test_a_failure_is_named_in_one_line(output: str, expected: str) -> None:
    line = diagnose(output)

    assert expected in line
    assert "\n" not in line
