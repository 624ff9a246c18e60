"""A Kafka broker that belongs to one test, with settings that differ from those of the stack's broker."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.ports import choose_ports
from deploy.local.running import end, wait_until
from deploy.local.servers import kafka
from deploy.local.stack import Stack
from deploy.local.supervision.programs import ServerProgram, SetupProgram, tied_to_this_process
from schemas.settings.servers import BrokerSettings

READY_S = 60.0
# A retention check twice a second, from the start on; by default every five minutes, from half a minute on.
CHECKS_OFTEN = {"log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "100"}


@contextmanager
def own_broker(
    root: Path, changes: Mapping[str, str] = CHECKS_OFTEN, formatting_options: Sequence[str] = ()
) -> Iterator[BrokerSettings]:
    """Run an empty broker for the block, its data in a new folder; `changes` are settings of the broker.

    `formatting_options` are options of the program that makes the broker's storage.
    """
    folder = DataFolder(root)
    folder.make()
    stack = Stack(layout.here(), folder, choose_ports(folder, {"kafka": 0, "kafka-controller": 0}, {}), {}, None)
    formatting, server, _ = kafka.programs(stack)
    assert isinstance(formatting, SetupProgram)
    assert isinstance(server, ServerProgram)
    with (root / "kafka.properties").open("a") as properties:
        properties.writelines(f"{name}={value}\n" for name, value in changes.items())
    with folder.log("kafka").open("wb") as log:
        made = [*map(str, formatting.command), *formatting_options]
        subprocess.run(made, env=dict(formatting.env), stdout=log, stderr=log, check=True)
        command = tied_to_this_process(server.command, None)
        process = subprocess.Popen([sys.executable, *command[1:]], env=dict(server.env), stdout=log, stderr=log)
        try:
            wait_until(lambda: server.check_health() is None, READY_S, f"no broker: see {folder.log('kafka')}")
            yield stack.broker
        finally:
            end(process)
