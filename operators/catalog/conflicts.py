"""The event that reports two contents under one instance's UIDs."""

from typing import cast

from operators.catalog.rows import ConflictRow, Content
from operators.stream.step import Output
from schemas.events import Conflict, InstanceConflict, event_id
from schemas.topics import INSTANCE_CONFLICT


def conflict_output(shown: Content, lost: ConflictRow) -> Output:
    """Return the event of a conflict; made from its two rows alone, it is the same each time it is made."""
    names = (shown.tenant, shown.study_uid, shown.sop_uid)
    event = InstanceConflict(
        event_id=event_id("instance-conflict", *names, lost.data_hash, shown.data_hash),
        tenant=shown.tenant,
        occurred_at=max(shown.stored_at, lost.stored_at),
        cause=(str(shown.event_id), str(lost.event_id)),
        study_uid=shown.study_uid,
        sop_uid=shown.sop_uid,
        kind=cast("Conflict", lost.kind),
        shown_data_hash=shown.data_hash,
        shown_object_key=shown.object_key,
        shown_stored_at=shown.stored_at,
        lost_data_hash=lost.data_hash,
        lost_object_key=lost.object_key,
        lost_stored_at=lost.stored_at,
    )
    return Output(INSTANCE_CONFLICT, event)
