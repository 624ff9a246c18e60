"""The study job: instances and ends of transfers in, dues out."""

from pyflink.datastream import StreamExecutionEnvironment

from operators.study.due import due_step, identity
from pipelines.engines.flink import Job
from pipelines.engines.kafka import Reading, records, send
from pipelines.engines.steps import keyed_steps
from schemas.settings.jobs import StudySettings
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_STORED, TRANSFER_ENDED

NAME = "study"
READS = (INSTANCE_STORED, TRANSFER_ENDED)
# The step forgets by itself; this only bounds what a fault in it could leave: a window, and what may follow it.
LIMITS_REMEMBERED = 4


def build(env: StreamExecutionEnvironment, broker: BrokerSettings, settings: StudySettings) -> None:
    """Wire the job into an environment."""
    came = records(env, broker, Reading(NAME, READS))
    remember_s = LIMITS_REMEMBERED * (settings.limit_s + settings.quiet_open_s)
    send(keyed_steps(came, NAME, due_step(settings), identity, remember_s), broker, NAME)


JOB = Job(name=NAME, mode="thread", reads=READS, settings=(BrokerSettings, StudySettings), build=build)
