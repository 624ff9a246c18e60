"""The transfers of a ledger, small ones as texts: the collector of garbage walks through objects, not through texts.

A long outage of the broker leaves as many transfers as intents, if each association sends one instance. As objects,
100,000 of them stopped the event loop for 70 to 91 ms in each full collection.
"""

from collections.abc import Iterator
from dataclasses import astuple
from datetime import datetime

import orjson

from gateway.intake.transfer import NO_HASHES, RecordedTransfer, Sender

# The most studies and hashes of a transfer that is kept as a text: it is written anew with each change.
MOST_SMALL = 16

# A transfer as it lies in memory.
Kept = str | RecordedTransfer


class Transfers:
    """The transfers by their ids, in the order of their beginnings.

    `get` returns a transfer to read, or to change and to give to `keep` in the same turn of the event loop.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, transfer_id: str) -> bool:
        return transfer_id in self._kept

    def __iter__(self) -> Iterator[str]:
        """Yield the id of each transfer; none may be added or finished meanwhile."""
        return iter(self._kept)

    def __getitem__(self, transfer_id: str) -> RecordedTransfer:
        return unpacked(transfer_id, self._kept[transfer_id])

    def get(self, transfer_id: str) -> RecordedTransfer | None:
        """Return a transfer; None if it has not begun, or is finished."""
        kept = self._kept.get(transfer_id)
        return None if kept is None else unpacked(transfer_id, kept)

    def keep(self, transfer: RecordedTransfer) -> None:
        """Keep a transfer that is new or was changed; forget one that is finished and has no open intent."""
        if transfer.is_finished and not transfer.open_intents:
            self._kept.pop(transfer.transfer_id, None)
        else:
            self._kept[transfer.transfer_id] = packed(transfer) if _is_small(transfer) else transfer

    def snapshot(self) -> tuple[tuple[str, ...], tuple[Kept, ...]]:
        """Return the ids of all transfers, and what is kept of each; a transfer that is not small may change later."""
        return tuple(self._kept), tuple(self._kept.values())


def packed(transfer: RecordedTransfer) -> str:
    """Return a transfer without its id as JSON."""
    published = {study_uid: [each.hex() for each in hashes] for study_uid, hashes in transfer.published.items()}
    return orjson.dumps(
        (
            transfer.tenant,
            transfer.began_at.isoformat(),
            transfer.outcome,
            transfer.ended_at and transfer.ended_at.isoformat(),
            published,
            tuple(transfer.ended_studies),
            transfer.open_intents,
            astuple(transfer.sender),
            transfer.sizes,
            transfer.refused,
        )
    ).decode()


def unpacked(transfer_id: str, kept: Kept) -> RecordedTransfer:
    """Return a transfer from what is kept of it."""
    if isinstance(kept, RecordedTransfer):
        return kept
    tenant, began_at, outcome, ended_at, published, ended_studies, open_intents, sender, *told = orjson.loads(kept)
    return RecordedTransfer(
        transfer_id,
        tenant,
        datetime.fromisoformat(began_at),
        outcome,
        ended_at and datetime.fromisoformat(ended_at),
        {study_uid: set(map(bytes.fromhex, hashes)) or NO_HASHES for study_uid, hashes in published.items()},
        frozenset(ended_studies),
        open_intents,
        Sender(*sender),
        *told,
    )


def _is_small(transfer: RecordedTransfer) -> bool:
    published = transfer.published
    return len(published) <= MOST_SMALL and len(published) + sum(map(len, published.values())) <= MOST_SMALL
