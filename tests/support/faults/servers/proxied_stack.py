"""Start a stack whose processes reach its servers through proxies:

    python -m tests.support.faults.servers.proxied_stack kafka=PORT minio=PORT postgres=PORT

Each port is that of the proxy before the server. It runs as `python -m deploy.local up --free-ports` does otherwise.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace

from deploy.local import up
from deploy.local.stack import Stack
from deploy.local.supervision.programs import Program

OWN_PROGRAMS = up.programs


def addresses(ports: Mapping[str, int]) -> dict[str, str]:
    """Return the settings that name the proxies."""
    return {
        "FLUORO_STORE_ENDPOINT": f"http://127.0.0.1:{ports['minio']}",
        "FLUORO_BROKER_BOOTSTRAP": f"127.0.0.1:{ports['kafka']}",
        "FLUORO_CATALOG_PORT": str(ports["postgres"]),
    }


def through(program: Program, ports: Mapping[str, int]) -> Program:
    """Return a program that reaches the servers through the proxies."""
    changed = {name: value for name, value in addresses(ports).items() if name in program.env}
    return replace(program, env={**program.env, **changed})


def programs(planned: Stack, ports: Mapping[str, int]) -> tuple[Program, ...]:
    """Return every program of the stack; the broker tells its clients the address of its proxy."""
    own = OWN_PROGRAMS(planned)
    with (planned.folder.root / "kafka.properties").open("a") as properties:
        properties.write(f"advertised.listeners=BROKER://127.0.0.1:{ports['kafka']}\n")
    return tuple(through(program, ports) for program in own)


if __name__ == "__main__":
    given = {name: int(port) for name, port in (word.split("=") for word in sys.argv[1:])}
    up.programs = lambda planned: programs(planned, given)
    up.up(free_ports=True)
