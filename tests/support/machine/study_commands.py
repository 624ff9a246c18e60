"""Operators' commands on a running stack, and what it has of a command about a study: its object, its events."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping

from deploy.local.running import RunningStack
from operators.connectors.s3.store import S3ObjectStore
from operators.store.commands import COMMANDS
from schemas.events import StudyCommand
from schemas.objects import command_key
from schemas.settings.reading import load
from schemas.settings.servers import StoreSettings

SOON_S = 60.0


def run_on_stack(stack: RunningStack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run an operator's command on the local stack."""
    return run_command({"FLUORO_DATA": str(stack.folder.root)}, *arguments)


def run_command(variables: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run an operator's command with only these variables; fail if it shows a traceback or a patient's name."""
    command, env = (sys.executable, "-m", "deploy.commands", *arguments), {"PATH": "", **variables}
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SOON_S, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Canary" not in done.stdout + done.stderr
    return done


def object_of(stack: RunningStack, study_uid: str, command_id: str) -> StudyCommand | None:
    """Return the command in the store, None if there is no such object."""

    async def read() -> StudyCommand | None:
        async with S3ObjectStore(load(StoreSettings, stack.env)) as store:
            return await COMMANDS.find(store, command_key("local", study_uid, command_id))

    return asyncio.run(read())


def events_of(stack: RunningStack, command_id: str) -> list[tuple[str, str, str]]:
    """Return action, who and why of each event of a command, as the topic's command prints them."""
    done = run_on_stack(stack, "topics", "read", "study-command", "--json", "--patient-data")
    assert done.returncode == 0, done.stderr
    # What cannot be decoded has no value: another test's poison lies in the topic.
    values = [record["value"] for record in map(json.loads, done.stdout.splitlines()) if "value" in record]
    found = [value for value in values if value["event_id"] == command_id]
    return [(value["action"], value["who"], value["why"]) for value in found]
