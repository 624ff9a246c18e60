"""The whole stack on this machine by one command: `python -m deploy.local up`.

It stays up until Ctrl-C, starts again what dies, and keeps its data in one
folder (FLUORO_DATA, else .data in the repository). Settings are those of
schemas/settings, from the environment.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from deploy.install import flink_home, layout, preflight
from deploy.install.steps import MB, Failed
from deploy.local import places, stack
from deploy.local.places import Place
from deploy.local.running import STOP_S, RunningStack
from deploy.local.stack import Stack
from deploy.local.supervisor import Supervisor
from schemas.settings.reading import SettingsError

PEOPLE = {"dimse": "DIMSE", "web": "web", "flink": "Flink UI"}


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def place_here() -> Place:
    """Return the data folder of this user and clone."""
    place, why = places.choose(os.environ, layout.here().root)
    if why:
        print(why, file=sys.stderr, flush=True)
    return place


def up(options: argparse.Namespace) -> None:
    """Start everything and keep it running until Ctrl-C."""
    place = place_here()
    place.make()
    with places.held(place):
        if swept := places.sweep(place):
            say(f"{swept} processes of a killed run ended")
        chosen = stack.plan(check_installed(), place, os.environ, free_ports=options.free_ports)
        check_start(chosen)
        asyncio.run(supervise(chosen))
    say("Stopped; data are kept.")


def missing(here: layout.Layout) -> tuple[str, ...]:
    """Name what is not installed, or made from what has changed since; empty when the stack can start."""
    absent = here.missing()
    return absent if absent or flink_home.ready(here) else ("Flink's run folder, whose sources changed",)


def check_installed() -> layout.Layout:
    """Return where everything lies; raises Failed when something is missing."""
    here = layout.here()
    if absent := missing(here):
        raise Failed(f"not installed: {', '.join(absent)}. Run: make install")
    return here


def check_start(chosen: Stack) -> None:
    """Raise Failed with all that would stop a start."""
    named = {PEOPLE.get(name, name): port for name, port in chosen.ports.items()}
    account = places.postgres_account()
    user = (account.pw_uid, [account.pw_gid]) if account else None
    problems = preflight.before_start(chosen.place.root, named, postgres_user=user)
    if problems:
        raise Failed("\n".join(map(str, problems)))


async def supervise(chosen: Stack) -> None:
    """Run the supervisor until a signal asks it to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ask_to_stop, stop)

    async def ready() -> None:
        say("\n".join(["", *addresses(chosen), f"  memory    {memory(chosen.place)}", "Ready. Ctrl-C stops it."]))

    say(f"Starting the stack; data and logs are in {chosen.place.root}")
    await Supervisor(chosen.place, stack.nodes(chosen), say, chosen.about).run(stop, ready)


def ask_to_stop(stop: asyncio.Event) -> None:
    """Begin to stop; a further signal changes nothing, since stopping is bounded."""
    if not stop.is_set():
        say("Stopping ...")
    stop.set()


def addresses(chosen: Stack) -> list[str]:
    """Return where people find the stack."""
    return [
        f"  DIMSE     {chosen.dimse.host} port {chosen.dimse.port}, AE title {chosen.dimse.ae_title}",
        f"  DICOMweb  {web(chosen)}",
        f"  Flink UI  http://127.0.0.1:{chosen.job.rest_port}",
    ]


def web(chosen: Stack) -> str:
    """Return the address of the DICOMweb service."""
    return f"http://{chosen.api.host}:{chosen.api.port}/dicomweb"


def memory(place: Place) -> str:
    """Return how much memory the servers hold."""
    held = RunningStack(place).rss_bytes()
    parts = ", ".join(f"{name} {amount / MB:.0f}" for name, amount in held.items())
    return f"{sum(held.values()) / MB:.0f} MB resident ({parts})"


def status(_: argparse.Namespace) -> None:
    """Return what runs."""
    place = place_here()
    state = RunningStack(place).state()
    for name, one in state.servers.items():
        well = "healthy" if one.healthy else "not healthy"
        say(f"  {name:<10}{well}, process {one.process.pid}, started {one.starts} times")
    chosen = stack.recall(layout.here(), state, place)
    say("\n".join([*addresses(chosen), f"  memory    {memory(place)}", "Ready." if state.ready else "Starting."]))


def stop(_: argparse.Namespace) -> None:
    """Stop the stack that runs."""
    place = place_here()
    state = RunningStack(place).state()
    os.kill(state.supervisor.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while state.supervisor.alive():
        if time.monotonic() > deadline:
            raise Failed(f"the supervisor, process {state.supervisor.pid}, does not end")
        time.sleep(0.1)
    say("Stopped; data are kept.")


def clean_data(_: argparse.Namespace) -> None:
    """Delete all data."""
    place = place_here()
    if not place.is_ours():
        say(f"There are no data in {place.root}")
        return
    with places.held(place):
        places.sweep(place)
        place.remove()
    say(f"Deleted {place.root}")


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "up": up,
    "status": status,
    "stop": stop,
    "clean-data": clean_data,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all well, 1 a problem, said in a line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, do in COMMANDS.items():
        commands.add_parser(name, help=do.__doc__)
    commands.choices["up"].add_argument("--free-ports", action="store_true", help="no fixed port, for tests")
    options = parser.parse_args(arguments)
    try:
        COMMANDS[options.command](options)
    except (Failed, SettingsError) as failure:
        print(failure, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
