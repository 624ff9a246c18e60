"""Damage to objects where MinIO keeps them on its disk: in a file of their own, or, small ones, within their metadata."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

# The last bytes of the metadata's file are those of a small object; here they are far enough from both ends of it.
FROM_END = 5000


def _flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


def _flip_in_the_middle(path: Path) -> None:
    _flip(path, path.stat().st_size // 2)


def _cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - FROM_END)


def _lose(path: Path) -> None:
    if path.name == "xl.meta":
        # The file holds the metadata of a small object too, which stay.
        _flip(path, path.stat().st_size - FROM_END)
    else:
        path.unlink()


DAMAGES: Mapping[str, Callable[[Path], None]] = {"altered": _flip_in_the_middle, "short": _cut_short, "lost": _lose}


def file_of(folder: Path, bucket: str, key: str) -> Path:
    """Return the file that has an object's bytes, below the folder that a MinIO of one drive has."""
    place = folder / bucket / key
    return next(place.glob("*/part.1"), place / "xl.meta")


def damage(folder: Path, bucket: str, key: str, how: str) -> None:
    """Damage an object's bytes as DAMAGES says."""
    DAMAGES[how](file_of(folder, bucket, key))


def damage_metadata(folder: Path, bucket: str, key: str) -> None:
    """Flip a byte of an object's metadata."""
    _flip(folder / bucket / key / "xl.meta", 100)
