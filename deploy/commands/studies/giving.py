"""Give a command about a study on the servers of the settings, through the use case that the REST door has too."""

from contextlib import AsyncExitStack

from deploy.commands.problems import server_name
from deploy.commands.sections import StudySections
from deploy.errors import Failed
from gateway.commands.giving import GivenCommand
from gateway.commands.lifespan import open_commands
from gateway.commands.request import CommandRequest
from gateway.intake.lifespan import Connectors
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.s3.store import S3ObjectStore
from operators.errors import Unavailable
from operators.http.problem import Problem
from operators.store.ports import EventLog, ObjectStore
from schemas.settings.intake import IntakeSettings

# A server that stops answering half-way: perhaps the command is stored already, and then it will be published.
UNSURE = "{server} does not answer, and perhaps the command is stored already. To be sure give it again, with --id {id}"
NO_OUTBOX = (
    "no file can be made in {folder} ({error}): name a folder by FLUORO_INTAKE_OUTBOX_DIR and FLUORO_INTAKE_SPOOL_DIR"
)


async def give(sections: StudySections, request: CommandRequest) -> GivenCommand:
    """Open the servers of the settings, and store and publish a command on them; raises Failed with a line for people."""
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(S3ObjectStore(sections.store))
        events = await opened.enter_async_context(KafkaEventLog(sections.broker))
        return await give_on(store, events, sections.intake, request)


async def give_on(
    store: ObjectStore, events: EventLog, intake: IntakeSettings, request: CommandRequest
) -> GivenCommand:
    """Store and publish a command that has an id, on these servers; raises Failed with a line for people.

    What this process leaves unfinished, a gateway with the same outbox folder finishes.
    """
    try:
        async with open_commands(intake, Connectors(store, events)) as commands:
            return await commands.give(request)
    except Problem as problem:
        raise Failed(problem.advice) from problem
    except Unavailable as error:
        raise Failed(UNSURE.format(server=server_name(error), id=request.command_id)) from error
    except OSError as error:
        raise Failed(NO_OUTBOX.format(folder=intake.outbox_dir.parent, error=error.strerror)) from error
