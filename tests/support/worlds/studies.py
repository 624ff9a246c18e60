"""Events of instances, ends of transfers and commands, made up and valid, for tests of when a study is due."""

from datetime import UTC, datetime, timedelta

from operators.stream.step import Arrival
from schemas.events import Action, Facts, Frames, InstanceStored, Outcome, StudyCommand, TransferEnded, event_id
from schemas.topics import INSTANCE_STORED, STUDY_COMMAND, TRANSFER_ENDED, study_key

TENANT = "local"
STUDY = "1.2.3"
KEY = study_key(TENANT, STUDY).decode()
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
PARTITION = 3


def instance(number: int, transfer: str = "t1", *, study: str = STUDY, modality: str = "CR") -> InstanceStored:
    """Return the event of a study's instance; the same number has the same content."""
    sop = f"{study}.1.{number}"
    data_hash = f"{number:064x}"
    return InstanceStored(
        event_id=event_id("instance-stored", TENANT, study, sop, data_hash),
        tenant=TENANT,
        occurred_at=EPOCH,
        study_uid=study,
        series_uid=f"{study}.1",
        sop_uid=sop,
        sop_class="1.2.840.10008.5.1.4.1.1.1",
        transfer_syntax="1.2.840.10008.1.2.1",
        object_key=f"{TENANT}/{study}/{study}.1/{sop}_{data_hash}.dcm",
        size_bytes=1000,
        data_hash=data_hash,
        prefix_hash="0" * 64,
        prefix_length=300,
        header_length=900,
        facts=Facts(modality=modality),
        frames=Frames(),
        transfer_id=transfer,
        received_at=EPOCH,
        stored_at=EPOCH,
    )


def ended(  # noqa: PLR0913 - each has its default, and a test names the one it is about
    transfer: str = "t1",
    instances: int = 1,
    outcome: Outcome = "well",
    *,
    began_s: float = 0.0,
    ended_s: float = 1.0,
    study: str | None = STUDY,
) -> TransferEnded:
    """Return the event of the end of a transfer; its times are seconds after EPOCH."""
    return TransferEnded(
        event_id=event_id("transfer-ended", TENANT, study or "", transfer, outcome),
        tenant=TENANT,
        occurred_at=EPOCH + timedelta(seconds=ended_s),
        study_uid=study,
        transfer_id=transfer,
        outcome=outcome,
        instances=instances,
        began_at=EPOCH + timedelta(seconds=began_s),
    )


def command(action: Action, number: int = 1, *, expects: int | None = None, study: str = STUDY) -> StudyCommand:
    """Return the event of a command; a greater number occurred later, and the same number is a repetition."""
    return StudyCommand(
        event_id=event_id("study-command", study, str(number)),
        tenant=TENANT,
        occurred_at=EPOCH + timedelta(milliseconds=number),
        study_uid=study,
        action=action,
        who="tester",
        why="a test",
        expected_instances=expects,
    )


TOPIC_OF = {InstanceStored: INSTANCE_STORED, TransferEnded: TRANSFER_ENDED, StudyCommand: STUDY_COMMAND}


def arrived(event: InstanceStored | TransferEnded | StudyCommand, offset: int) -> Arrival:
    """Return an event as it arrives from its topic, at this offset."""
    return Arrival(event, TOPIC_OF[type(event)].name, PARTITION, offset)
