"""A certificate authority of the tests, and another one that no server's certificate is signed by."""

from dataclasses import dataclass
from pathlib import Path

from tests.support.machine.certificates import issue

SERVER, OURS, OTHER = "server", "authority", "other-authority"


@dataclass(frozen=True)
class Authority:
    """The files of a certificate for 127.0.0.1, its key, the authority that signed it, and an authority that did not."""

    certificate: Path
    key: Path
    ours: Path
    other: Path


def authority(folder: Path) -> Authority:
    """Make two authorities, and a server's certificate that the first one has signed."""
    folder.mkdir()
    ours, _ = issue(folder, OURS, OURS)
    other, _ = issue(folder, OTHER, OTHER)
    certificate, key = issue(folder, SERVER, OURS)
    return Authority(certificate, key, ours, other)
