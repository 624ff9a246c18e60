"""The study job: it reads stored instances, ends of transfers and commands; it publishes an event when a study is due."""

from pyflink.datastream import StreamExecutionEnvironment

from operators.stream.origin import Origin
from operators.study.due import due_step, identity
from pipelines.engines.kafka import Reading, batches, send
from pipelines.engines.steps import KeyedStep, keyed_steps
from pipelines.jobs import STUDY
from schemas.settings.jobs import JobSettings, StudySettings
from schemas.settings.servers import BrokerSettings

# The step removes its entries itself. Entries that it failed to remove expire after this many times the longest time
# that a window and a later delay can last.
LIMITS_REMEMBERED = 4
# A study is due seconds after its last record: there is time to fetch many records at once.
FETCH_S = 0.5


def build(
    env: StreamExecutionEnvironment, origin: Origin, broker: BrokerSettings, settings: StudySettings, job: JobSettings
) -> None:
    """Build the job's graph in an environment."""
    arriving = batches(env, broker, Reading(STUDY.name, STUDY.reads, FETCH_S, origin), job)
    remember_s = LIMITS_REMEMBERED * (settings.limit_s + settings.quiet_open_s)
    step = KeyedStep(STUDY.name, due_step(settings), identity, remember_s)
    send(keyed_steps(arriving, step, job), broker, STUDY.name)
