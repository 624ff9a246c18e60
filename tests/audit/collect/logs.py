"""The log files of an archive."""

from collections.abc import Iterable, Iterator
from pathlib import Path

PIECE_BYTES = 16 << 20
OVERLAP_BYTES = 256


def logged(folders: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield every log file in pieces that overlap, each with the name of its file."""
    for folder in folders:
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            yield from pieces(path, path.relative_to(folder))


def pieces(path: Path, name: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a file in pieces; each begins with the end of the one before, so that no token is cut."""
    before = b""
    with path.open("rb") as file:
        while chunk := file.read(PIECE_BYTES):
            yield f"log {name}", before + chunk
            before = chunk[-OVERLAP_BYTES:]
