"""An auditor that was killed while it read objects goes on where it was, and reads everything again next time."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.audit.collect.contents import KnownContents, ListedObject
from tests.audit.collect.object_store import GROUP, contents
from tests.audit.snapshot import ObjectContent

OBJECTS = [ListedObject("hot", f"local/1/1/{number}", f"etag{number}", 7) for number in range(2 * GROUP + 5)]


class Killed(BaseException):
    """The end of the process."""


class Client:
    """A client of a store that counts what is read; the process is killed when it reads the object of this key."""

    def __init__(self, killed_at: str = "") -> None:
        self.killed_at, self.read = killed_at, list[str]()

    def get_object(self, _: str, key: str) -> Any:
        if key == self.killed_at:
            raise Killed
        self.read.append(key)
        return SimpleNamespace(key=key, headers={}, close=lambda: None, release_conn=lambda: None)


def read_content(answer: Any, envelope: Mapping[str, str]) -> ObjectContent:
    assert envelope == {}
    return ObjectContent(answer.key, "prefix", 132, "1.2.840.10008.1.2", b"\xe0\x7f")


def audited(client: Client, known: KnownContents) -> dict[ListedObject, ObjectContent | None]:
    return contents(client, OBJECTS, None, known, read_content)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of an audit that was killed in its second group."""
    path = tmp_path / "read.jsonl"
    with pytest.raises(Killed):
        audited(Client(OBJECTS[GROUP + 1].key), KnownContents(path))
    return path


def test_what_was_read_before_a_kill_is_not_read_again(file: Path) -> None:
    client, known = Client(), KnownContents(file)

    found = audited(client, known)

    assert len(client.read) == len(OBJECTS) - GROUP
    assert known.found == GROUP
    assert found == audited(Client(), KnownContents())


def test_a_line_that_the_kill_has_cut_is_read_again(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])

    for _ in range(2):
        client = Client()
        audited(client, KnownContents(file))

    assert client.read == []


def test_an_object_with_another_etag_is_read_again(file: Path) -> None:
    client, changed = Client(), OBJECTS[0]._replace(etag="another")

    contents(client, [changed, *OBJECTS[1:]], None, KnownContents(file), read_content)  # type: ignore[arg-type]

    assert changed.key in client.read
    assert OBJECTS[1].key not in client.read


def test_an_audit_that_has_ended_leaves_nothing(file: Path) -> None:
    known = KnownContents(file)
    audited(Client(), known)

    known.forget()

    assert not file.exists()
    assert known.find(OBJECTS[0]) is None


@pytest.mark.parametrize("after_header", [None, b"", b"\xe0\x7f\x10\x00"])
def test_what_is_read_back_is_what_was_written(tmp_path: Path, after_header: bytes | None) -> None:
    content = replace(
        ObjectContent("data", "prefix", 132, "1.2", None, {"prefix-hash": "x"}), after_header=after_header
    )
    KnownContents(tmp_path / "file").note([(OBJECTS[0], content), (OBJECTS[1], None)])

    known = KnownContents(tmp_path / "file")

    assert known.find(OBJECTS[0]) == content
    assert known.find(OBJECTS[1]) is None
