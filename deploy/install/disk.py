"""Sizes on disk, and deletion. Standard library only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MB = 1_000_000


def discard(path: Path) -> None:
    """Delete a file, a link or a folder with its contents; a missing one is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def size_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; links count nothing."""
    if path.is_file():
        return path.stat().st_size
    files = (Path(parent) / name for parent, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in files if not file.is_symlink())
