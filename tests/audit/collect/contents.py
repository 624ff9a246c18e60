"""What was read of objects, kept in a file, so that an auditor that was killed goes on where it was.

An object is known again by bucket, key, ETag and size. Bytes that the store's disk changes keep all four, so the file is
only of an audit that has not ended: whoever comes to the end of an audit removes it, and the next one reads everything.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from tests.audit.snapshot import ObjectContent


class ListedObject(NamedTuple):
    """An object as the store lists it."""

    bucket: str
    key: str
    etag: str
    size_bytes: int


class KnownContents:
    """The contents of objects that were read, in a file if there is a path; `found` of them were asked for again."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known = dict(lines_of(path)) if path and path.exists() else {}
        self.found = 0

    def find(self, listed: ListedObject) -> ObjectContent | None:
        """Return what was read of an object, None if it was not read yet."""
        content = self._known.get(listed)
        self.found += content is not None
        return content

    def note(self, contents: Iterable[tuple[ListedObject, ObjectContent | None]]) -> None:
        """Remember what was read; objects that could not be read are read again."""
        good = [(listed, content) for listed, content in contents if content is not None]
        self._known.update(good)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                # What a kill has cut ends here.
                file.write("\n" + "".join(line_of(listed, content) for listed, content in good))

    def forget(self) -> None:
        """Forget everything: the audit has ended."""
        self._known.clear()
        self.found = 0
        if self._path:
            self._path.unlink(missing_ok=True)


def line_of(listed: ListedObject, content: ObjectContent) -> str:
    """Return what was read of an object as a line."""
    after_header = None if content.after_header is None else content.after_header.hex()
    return json.dumps([listed, {**asdict(content), "after_header": after_header}]) + "\n"


def lines_of(path: Path) -> Iterable[tuple[ListedObject, ObjectContent]]:
    """Yield what was read of each object; a line that was cut by a kill is left out."""
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            listed, values = json.loads(line)
            content, after = ObjectContent(**values), values["after_header"]
            yield ListedObject(*listed), replace(content, after_header=None if after is None else bytes.fromhex(after))
