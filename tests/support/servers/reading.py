"""Waiting until the checkpoints of a stack's jobs cover every record that their topics have."""

from deploy.local.running import RunningStack, wait_until
from operators.connectors.kafka.positions import Positions
from pipelines.batch.replay.resending import jobs_behind
from pipelines.jobs import JOBS
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings

SOON_S = 120.0


def wait_until_all_is_read(stack: RunningStack) -> None:
    """Wait until a checkpoint of each job covers every record that its topics have."""
    positions = Positions(load(BrokerSettings, stack.env))

    def is_read() -> bool:
        extents = positions.extents({topic for job in JOBS for topic in job.topics})
        return not jobs_behind(positions, {place: one.end - 1 for place, one in extents.items() if one.end})

    wait_until(is_read, SOON_S, "the jobs do not read to the end")
