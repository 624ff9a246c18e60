"""A command's object is JSON that a person can read, and says all that its event says."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.connectors.memory.stores import MemoryObjectStore, StoredBytes
from operators.errors import Rejected
from operators.store.commands import COMMANDS
from schemas.events import StudyCommand
from schemas.objects import Bucket, command_key
from tests.support.worlds.commands import DELETED, FIRST_ID

KEY = command_key("local", "1.2.3", FIRST_ID)
CHOOSE = replace(DELETED, action="choose", sop_uid="1.2.3.1", data_hash="a" * 64, instance=b"\xc3\x01\x00\xff")
EXPECT = replace(DELETED, action="expect", expected_instances=100)


@pytest.mark.parametrize("command", [DELETED, CHOOSE, EXPECT], ids=lambda it: it.action)
def test_a_command_is_read_back_from_its_object(command: StudyCommand) -> None:
    store, upload = MemoryObjectStore(), COMMANDS.upload_of(command)

    assert upload.key == KEY
    assert asyncio.run(store.put(Bucket.HOT, upload))
    assert asyncio.run(COMMANDS.find(store, KEY)) == command


@given(st.text(), st.text(), st.datetimes(timezones=st.just(UTC)), st.binary())
def test_whatever_is_said_is_read_back(who: str, why: str, moment: datetime, instance: bytes) -> None:
    said = replace(CHOOSE, who=who, why=why, occurred_at=moment.replace(year=2026), instance=instance)

    assert COMMANDS.event_in(KEY, COMMANDS.document(said)) == said


def test_a_person_can_read_it() -> None:
    lines = COMMANDS.document(DELETED).decode().splitlines()

    assert '  "action": "delete",' in lines
    assert '  "why": "sent to the wrong archive"' in lines


def test_there_may_be_no_such_command() -> None:
    assert asyncio.run(COMMANDS.find(MemoryObjectStore(), KEY)) is None


def test_what_a_later_release_adds_is_left_out() -> None:
    later = json.dumps({**json.loads(COMMANDS.document(DELETED)), "priority": 1})

    assert COMMANDS.event_in(KEY, later.encode()) == DELETED


SPOILED: dict[str, bytes] = {
    "no JSON": b"delete",
    "a list": b"[]",
    "cut short": COMMANDS.document(DELETED)[:-20],
    "another study's": COMMANDS.document(replace(DELETED, study_uid="1.2.4")),
    "no such action": COMMANDS.document(DELETED).replace(b'"delete"', b'"destroy"'),
    "a number for a text": COMMANDS.document(DELETED).replace(b'"loopback"', b"7"),
    "no time": COMMANDS.document(DELETED).replace(b"2026-", b"later-"),
    "no base64": COMMANDS.document(CHOOSE).replace(b'"instance": "', b'"instance": "\xc3\xa4'),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_no_command_is_rejected(how: str) -> None:
    store = MemoryObjectStore(objects={(Bucket.HOT, KEY): StoredBytes(SPOILED[how], {})})

    with pytest.raises(Rejected, match="command-unreadable"):
        asyncio.run(COMMANDS.find(store, KEY))
