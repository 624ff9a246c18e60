"""Give a command about a study on the servers of the settings, through the use case that the REST door has too."""

from deploy.commands.publishing import connectors, failing_in_a_line
from deploy.commands.sections import PublishingSections
from gateway.commands.giving import GivenCommand
from gateway.commands.lifespan import open_commands
from gateway.commands.request import CommandRequest
from gateway.intake.lifespan import Connectors
from schemas.settings.intake import IntakeSettings

UNSURE = "{server} does not answer, and perhaps the command is stored already. To be sure give it again, with --id "


async def give(sections: PublishingSections, request: CommandRequest) -> GivenCommand:
    """Open the servers of the settings, and store and publish a command on them; raises Failed with a line for people."""
    async with connectors(sections) as opened:
        return await give_on(opened, sections.intake, request)


async def give_on(servers: Connectors, intake: IntakeSettings, request: CommandRequest) -> GivenCommand:
    """Store and publish a command that has an id, on these servers; raises Failed with a line for people.

    What this process leaves unfinished, a gateway with the same outbox folder finishes.
    """
    with failing_in_a_line(intake, UNSURE + request.command_id):
        async with open_commands(intake, servers) as commands:
            return await commands.give(request)
