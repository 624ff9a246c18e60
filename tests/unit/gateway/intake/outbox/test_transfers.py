"""A transfer is the same when it is read again, however it lies in memory."""

from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.outbox.transfers import MOST_SMALL, Transfers
from gateway.intake.transfer import RecordedTransfer, Sender
from schemas.events import Outcome

NOON = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
UIDS = st.sampled_from([f"1.2.{number}" for number in range(2 * MOST_SMALL)])
TIMES = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds UTC
RECORDED = st.builds(
    RecordedTransfer,
    transfer_id=st.just("t-1"),
    tenant=st.sampled_from(["local", "else"]),
    began_at=TIMES,
    outcome=st.sampled_from([None, *get_args(Outcome)]),
    ended_at=st.none() | TIMES,
    published=st.dictionaries(UIDS, st.sets(st.binary(min_size=32, max_size=32), max_size=3)),
    ended_studies=st.just(frozenset[str]()),
    open_intents=st.integers(1, 100_000),
    sender=st.builds(Sender, *[st.text(max_size=16)] * 4),
    sizes=st.dictionaries(UIDS, st.integers(0, 2**40)),
    refused=st.dictionaries(st.sampled_from(["too-large", "bad-sequence"]), st.integers(1, 100)),
)


@given(RECORDED)
def test_a_transfer_is_the_same_when_it_is_read_again(transfer: RecordedTransfer) -> None:
    transfers = Transfers()

    transfers.keep(transfer)

    assert transfers["t-1"] == transfers.get("t-1") == transfer


@pytest.mark.parametrize("hashes", [0, MOST_SMALL, 1_000])
def test_a_transfer_can_be_changed_whether_it_is_small_or_not(hashes: int) -> None:
    transfers = Transfers()
    transfers.keep(RecordedTransfer("t-1", "local", NOON))
    for number in range(hashes):
        transfer = transfers["t-1"]
        transfer.add("1.2.3", [number.to_bytes(32)])
        transfers.keep(transfer)

    assert sum(map(len, transfers["t-1"].published.values())) == hashes


def test_a_finished_transfer_is_forgotten_unless_an_intent_is_open() -> None:
    transfers = Transfers()
    for open_intents in (1, 0):
        transfer = RecordedTransfer("t-1", "local", NOON, "well", NOON, open_intents=open_intents)
        transfers.keep(transfer)

        assert list(transfers) == ["t-1"] * open_intents

    assert transfers.get("t-1") is None
    assert "t-1" not in transfers
