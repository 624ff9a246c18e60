"""Stacks of the benchmarks' own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up


@contextmanager
def own_stack(folder: Path) -> Iterator[RunningStack]:
    """Run a new stack for the block, with its data and its log in this folder."""
    folder.mkdir()
    with brought_up(DataFolder(folder / "data"), os.environ, options=["--free-ports"], out=folder / "up.log") as stack:
        yield stack
