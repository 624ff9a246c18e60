"""The study job: it reads stored instances and ends of transfers, and says when a study is due."""

from pyflink.datastream import StreamExecutionEnvironment

from operators.study.due import due_step, identity
from pipelines.engines.kafka import Reading, records, send
from pipelines.engines.steps import keyed_steps
from pipelines.jobs import STUDY
from schemas.settings.jobs import StudySettings
from schemas.settings.servers import BrokerSettings

# The step drops its entries by itself; this bounds what a fault in it could leave: a window, and what may follow it.
LIMITS_REMEMBERED = 4


def build(env: StreamExecutionEnvironment, broker: BrokerSettings, settings: StudySettings) -> None:
    """Build the job's graph in an environment."""
    arriving = records(env, broker, Reading(STUDY.name, STUDY.reads))
    remember_s = LIMITS_REMEMBERED * (settings.limit_s + settings.quiet_open_s)
    send(keyed_steps(arriving, STUDY.name, due_step(settings), identity, remember_s), broker, STUDY.name)
