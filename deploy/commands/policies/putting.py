"""Put a policy on the servers of the settings, through the use case that the REST door has too."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.commands.publishing import connectors, failing_in_a_line
from deploy.commands.sections import PublishingSections
from deploy.errors import Failed
from gateway.intake.lifespan import Connectors
from gateway.policies.lifespan import open_policies
from gateway.policies.putting import PutPolicy
from gateway.policies.request import PolicyRequest
from operators.policies.document import MOST_BYTES, BadPolicy, rules_json
from schemas.events import PolicyRule
from schemas.settings.intake import IntakeSettings

STANDARD_INPUT = "-"
UNSURE = (
    "{server} does not answer, and perhaps the version is stored already. To be sure put the same rules again:"
    " what is in force already is no new version"
)


def document_in(file: str) -> bytes:
    """Return the document in a file, or on standard input; a longer one is cut. Raises Failed if it cannot be read."""
    if file == STANDARD_INPUT and sys.stdin is None:
        raise Failed("standard input is closed: name a file")
    try:
        if file == STANDARD_INPUT:
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with Path(file).open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}") from error


def document_text(rules: Sequence[PolicyRule]) -> str:
    """Return the document of rules as document_in() reads it: indented, unless that makes it too long to be put."""
    values = rules_json(rules)
    indented = json.dumps(values, indent=2)
    return indented if len(indented) < MOST_BYTES else json.dumps(values, separators=(",", ":"))


async def put(sections: PublishingSections, request: PolicyRequest) -> PutPolicy:
    """Open the servers of the settings, and put a policy on them; raises Failed with lines for people."""
    async with connectors(sections) as opened:
        return await put_on(opened, sections.intake, request)


async def put_on(servers: Connectors, intake: IntakeSettings, request: PolicyRequest) -> PutPolicy:
    """Put a policy on these servers; raises Failed with a line for each problem.

    What this process leaves unfinished, a gateway with the same outbox folder finishes.
    """
    with failing_in_a_line(intake, UNSURE):
        try:
            async with open_policies(intake, servers) as policies:
                return await policies.put(request)
        except BadPolicy as error:
            raise Failed("\n".join(error.problems)) from error
