"""Write patients' data into new files that nobody else may read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deploy.errors import Failed
from operators.retrieval.reading import Damaged, expected_of, read_object
from operators.store.ports import ObjectStore, StoredObject
from schemas.objects import Bucket


async def copy_object(store: ObjectStore, bucket: Bucket, key: str, data_hash: str, file: IO[bytes]) -> StoredObject:
    """Copy an object into a file; raises Failed when the object is gone or damaged.

    The file may hold wrong bytes when this raises.
    """
    stored = await store.head(bucket, key)
    if stored is None:
        raise Failed(f"the object is not in the store any more: {key}")
    try:
        async for chunk in read_object(store, bucket, key, expected_of(stored, data_hash)):
            file.write(chunk)
    except Damaged as error:
        raise Failed(f"the object is not what was stored ({error.reason}): {key}") from error
    return stored


def make_folder(path: Path) -> None:
    """Make a folder that nobody else may read, unless it exists; raises Failed when it cannot be made."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"{path} cannot be made: {error.strerror}") from error


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that nobody else may read, and delete it when the block fails.

    Raises Failed when the file exists or cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failed(f"{path} exists already: name another file") from None
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        try:
            yield file
            file.flush()
        except BaseException:
            path.unlink()
            raise
