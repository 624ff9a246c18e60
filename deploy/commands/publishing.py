"""Store an object and publish its event on the servers of the settings, and say in a line why that could not be done."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from deploy.commands.problems import server_name
from deploy.commands.sections import PublishingSections
from deploy.errors import Failed
from gateway.intake.lifespan import Connectors
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.s3.store import S3ObjectStore
from operators.errors import Unavailable
from operators.http.problem import Problem
from schemas.settings.intake import IntakeSettings

NO_OUTBOX = (
    "no file can be made in {folder} ({error}): name a folder by FLUORO_INTAKE_OUTBOX_DIR and FLUORO_INTAKE_SPOOL_DIR"
)


@asynccontextmanager
async def connectors(sections: PublishingSections) -> AsyncIterator[Connectors]:
    """Open the servers of the settings."""
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(S3ObjectStore(sections.store))
        events = await opened.enter_async_context(KafkaEventLog(sections.broker))
        yield Connectors(store, events)


@contextmanager
def failing_in_a_line(intake: IntakeSettings, unsure: str) -> Iterator[None]:
    """Raise Failed, with a line for people, in place of what keeps the block from being carried out.

    `unsure` is the line for a server that stops answering half-way, whose name it has as `{server}`: perhaps the object
    is stored already, and then its event will be published.
    """
    try:
        yield
    except Problem as problem:
        raise Failed(problem.advice) from problem
    except Unavailable as error:
        raise Failed(unsure.format(server=server_name(error))) from error
    except OSError as error:
        raise Failed(NO_OUTBOX.format(folder=intake.outbox_dir.parent, error=error.strerror)) from error
