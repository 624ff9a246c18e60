"""Choose the stack's TCP ports: free ones where none is fixed, and the same ones at every start."""

import fcntl
import json
import random
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.install.preflight import is_port_free
from deploy.local.data_folder import DataFolder
from deploy.local.json_file import write_json

# Below Linux's range for outgoing connections, so that no connection takes a server's port before the next start.
FREE_PORTS = range(20000, 32000)


@contextmanager
def choosing_alone(tools: Path) -> Iterator[None]:
    """Wait until no other process is in such a block with these tools, in which ports are chosen and their servers start.

    Until its server listens, a chosen port is free for others.
    """
    with (tools / "ports.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def choose_ports(folder: DataFolder, wanted: Mapping[str, int], widths: Mapping[str, int]) -> dict[str, int]:
    """Return a port for each name; where 0 is wanted, a free port, which the folder keeps for the next start.

    `widths` says how many ports in a row a name has, beginning with its own. When a row has grown into the port of
    another name, new ports are chosen for the row.
    """
    kept = json.loads(folder.ports.read_text()) if folder.ports.exists() else {}

    def row(name: str, first: int) -> range:
        return range(first, first + widths.get(name, 1))

    # The widest rows first: they are the hardest to place.
    unfixed = sorted((name for name, port in wanted.items() if not port), key=lambda name: -widths.get(name, 1))
    for name in unfixed:
        others = [item for ports in (wanted, kept) for item in ports.items() if item[0] != name]
        taken = {port for other, first in others for port in row(other, first)}
        if name not in kept or taken.intersection(row(name, kept[name])):
            kept[name] = free_row(taken, widths.get(name, 1))
    write_json(folder.ports, kept)
    return {name: port or kept[name] for name, port in wanted.items()}


def free_row(taken: Collection[int], width: int = 1) -> int:
    """Return the first of `width` ports in a row that are not taken and that nobody listens on."""

    def is_free(port: int) -> bool:
        return port not in taken and is_port_free(port)

    candidates = random.sample(FREE_PORTS, 200)
    return next(first for first in candidates if all(map(is_free, range(first, first + width))))
