"""The ends of transfers: the id of an end, and the ends that the objects of a study tell of."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from schemas.events import InstanceStored, TransferEnded, event_id


def end_id(tenant: str, transfer_id: str, study_uid: str) -> str:
    """Return the id of the end of a transfer for one of its studies: the same, whoever publishes it."""
    return event_id("transfer-ended", tenant, transfer_id, study_uid)


@dataclass
class RebuiltTransfers:
    """The transfers that the objects of one study name; each has an end once all of them were added.

    An end that is made again says no more than the objects do: the transfer began when the first of its instances
    was received, and ended when the last one was stored. The end that a gateway has published is later than that, so
    that it stays in the catalog, where the later one of two counts.
    """

    _ends: dict[str, TransferEnded] = field(default_factory=dict)

    def add(self, event: InstanceStored) -> None:
        """Count an instance for its transfer; each instance must be added once."""
        before = self._ends.get(event.transfer_id)
        if before is None:
            self._ends[event.transfer_id] = _first(event)
            return
        self._ends[event.transfer_id] = replace(
            before,
            occurred_at=max(before.occurred_at, event.stored_at),
            began_at=min(before.began_at, event.received_at),
            instances=before.instances + 1,
            size_bytes=(before.size_bytes or 0) + event.size_bytes,
        )

    def ends(self) -> Iterator[TransferEnded]:
        """Yield the end of each transfer."""
        yield from self._ends.values()


def _first(event: InstanceStored) -> TransferEnded:
    return TransferEnded(
        event_id=end_id(event.tenant, event.transfer_id, event.study_uid),
        tenant=event.tenant,
        occurred_at=event.stored_at,
        cause=(event.transfer_id,),
        transfer_id=event.transfer_id,
        study_uid=event.study_uid,
        outcome="rebuilt",
        instances=1,
        began_at=event.received_at,
        calling_ae=event.calling_ae,
        called_ae=event.called_ae,
        size_bytes=event.size_bytes,
    )
