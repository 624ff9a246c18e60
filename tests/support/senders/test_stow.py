"""The STOW-RS client reads every kind of answer, and retries until every file has its last one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.audit.ledger import Ledger, read
from tests.support.data.generate import Volume, files
from tests.support.senders import stow
from tests.support.senders.sender import meaning
from tests.support.senders.stow import Door, Part, batches, part, settled, statuses_in

SMALL = Volume(slices=3, size=16)
DOOR = Door("http://archive", patience_s=5)


@pytest.fixture
def parts(tmp_path: Path) -> list[Part]:
    return [part(path, "local") for path in files(SMALL, tmp_path / "files")]


def item(uid: str, **reasons: int) -> dict[str, Any]:
    named: dict[str, Any] = {stow.SOP_UID: {"vr": "UI", "Value": [uid]}} if uid else {}
    return named | {getattr(stow, name): {"vr": "US", "Value": [code]} for name, code in reasons.items()}


def answer(**sequences: list[dict[str, Any]]) -> dict[str, Any]:
    return {getattr(stow, name): {"vr": "SQ", "Value": items} for name, items in sequences.items()}


def test_every_file_gets_the_status_that_the_response_has_for_it(parts: list[Part]) -> None:
    first, second, third = (one.line.sop_uid for one in parts)
    said = answer(
        REFERENCED=[item(second, WARNING_REASON=0xB007), item(third)], FAILED=[item(first, FAILURE_REASON=0xA900)]
    )

    assert list(statuses_in(parts, said)) == ["A900", "B007", "0000"]


def test_a_failure_without_an_instance_belongs_to_a_file_that_nothing_names(parts: list[Part]) -> None:
    said = answer(
        REFERENCED=[item(parts[1].line.sop_uid)],
        OTHER_FAILURES=[item("", FAILURE_REASON=0xC000), item("", FAILURE_REASON=0xC001)],
    )

    assert list(statuses_in(parts, said)) == ["C000", "0000", "C001"]


def test_a_file_that_the_response_leaves_out_does_not_count_as_stored(parts: list[Part]) -> None:
    assert list(statuses_in(parts, {})) == ["missing"] * 3
    assert meaning("missing") == "failed"


def test_no_request_holds_two_files_that_may_be_named_alike(parts: list[Part]) -> None:
    alike = [parts[0], parts[1], parts[0], parts[2]]

    assert list(batches(alike, most=3)) == [parts[:2], [parts[0], parts[2]]]
    assert [len(batch) for batch in batches(parts, most=2)] == [2, 1]


def stored(parts: list[Part]) -> httpx.Response:
    return httpx.Response(200, json=answer(REFERENCED=[item(one.line.sop_uid) for one in parts]))


def refused_first(parts: list[Part]) -> list[httpx.Response | None]:
    return [httpx.Response(503), stored(parts)]


def cut_off_first(parts: list[Part]) -> list[httpx.Response | None]:
    return [None, stored(parts)]


def one_later(parts: list[Part]) -> list[httpx.Response | None]:
    some = [item(one.line.sop_uid) for one in parts[1:]]
    later = answer(REFERENCED=some, FAILED=[item(parts[0].line.sop_uid, FAILURE_REASON=0xA700)])
    return [httpx.Response(202, json=later), stored(parts[:1])]


@pytest.mark.parametrize("answers", [refused_first, cut_off_first, one_later])
def test_files_are_sent_again_until_all_are_stored(
    answers: Callable[[list[Part]], list[httpx.Response | None]], parts: list[Part], tmp_path: Path
) -> None:
    coming = iter(answers(parts))

    def reply(request: httpx.Request) -> httpx.Response:
        request.read()
        response = next(coming)
        if response is None:
            raise httpx.ReadError("gone")
        return response

    with Ledger(tmp_path / "ledger") as ledger, httpx.Client(transport=httpx.MockTransport(reply)) as client:
        found = settled(client, DOOR, ledger, parts)

    assert set(found.values()) == {"0000"}
    assert {line.state for line in read(tmp_path / "ledger")} == {"acked"}


def test_a_permanent_failure_is_not_sent_again(parts: list[Part], tmp_path: Path) -> None:
    said = answer(FAILED=[item(one.line.sop_uid, FAILURE_REASON=0xC000) for one in parts])
    asked: list[bytes] = []

    def reply(request: httpx.Request) -> httpx.Response:
        asked.append(request.read())
        return httpx.Response(409, json=said)

    with Ledger(tmp_path / "ledger") as ledger, httpx.Client(transport=httpx.MockTransport(reply)) as client:
        found = settled(client, DOOR, ledger, parts)

    assert set(found.values()) == {"C000"}
    assert len(asked) == 1
    assert asked[0].count(b"Content-Type: application/dicom\r\n") == len(parts)
    assert all(one.path.read_bytes() in asked[0] for one in parts)
    assert json.loads((tmp_path / "ledger").read_text().splitlines()[-1])["status"] == "C000"
