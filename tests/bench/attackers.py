"""Hostile DIMSE peers: each occupies a connection in its own way, and connects again when the archive closes it.

They run in a process of their own, and need less CPU than what they attack.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import Connection

from tests.audit.ledger import Line
from tests.support.data import elements
from tests.support.senders.files import data_hash
from tests.support.senders.scu import COMMAND, LAST, element, fragment_bytes, fragments, pdv, request
from tests.support.senders.sender import Peer

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
# Just under the most items and elements that a header may have: its scan takes 0.5 s.
LARGE_ITEMS = 95_000
# How long a peer waits before it connects again.
AGAIN_S = 0.5
# What a random number replaces in each large association request.
MARK = b"000000"
ABORT = b"\x07\0\0\0\0\4\0\0\0\0"


@dataclass(frozen=True)
class HostileConnection:
    """A hostile peer's connection to a DIMSE door."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: Peer

    async def send(self, data: bytes) -> None:
        """Send bytes; raises ConnectionError when the connection is closed."""
        self.writer.write(data)
        await self.writer.drain()

    async def associate(self, sop_class: str = CT) -> None:
        """Send a valid association request and wait for the answer."""
        await self.send(request(self.peer, sop_class, EXPLICIT))
        await self.receive()

    async def receive(self) -> None:
        """Receive a PDU of any kind; raises IncompleteReadError when the connection is closed."""
        head = await self.reader.readexactly(6)
        await self.reader.readexactly(struct.unpack(">I", head[2:])[0])

    async def drip(self, data: bytes, bytes_per_s: int) -> None:
        """Send at this rate, ten pieces a second."""
        step = max(1, bytes_per_s // 10)
        for start in range(0, len(data), step):
            await self.send(data[start : start + step])
            await asyncio.sleep(0.1)


Kind = Callable[[HostileConnection], Awaitable[None]]


async def silent(connection: HostileConnection) -> None:
    """Send nothing."""


async def one_byte(connection: HostileConnection) -> None:
    """Send one byte, then nothing."""
    await connection.send(b"\x01")


async def drip(connection: HostileConnection) -> None:
    """Send an association request at 100 B/s."""
    await connection.drip(large_request(), 100)


async def drip_in_pdu(connection: HostileConnection) -> None:
    """Send a data PDU at 100 B/s."""
    await begin_store(connection)
    await connection.drip(struct.pack(">BxIIBB", 4, 100_000, 99_996, 1, 0) + bytes(99_994), 100)


async def crumbs(connection: HostileConnection) -> None:
    """Send an instance in PDUs of one byte, ten a second."""
    await begin_store(connection)
    await connection.drip(pdv(b"x", 0) * 100_000, 130)


async def bomb(connection: HostileConnection) -> None:
    """Announce a PDU of 600 MB and send it."""
    await connection.send(struct.pack(">BxI", 1, 600_000_000))
    while True:
        await connection.send(bytes(65_536))


async def hoard(connection: HostileConnection) -> None:
    """Send nearly all of the longest association request that is allowed."""
    await connection.send(struct.pack(">BxI", 1, 524_288) + bytes(524_000))


async def contexts(connection: HostileConnection) -> None:
    """Request 128 presentation contexts of 64 transfer syntaxes."""
    await connection.send(large_request())
    await connection.reader.readexactly(6)
    await connection.send(ABORT)


async def mid_pdu(connection: HostileConnection) -> None:
    """Stop sending within a data PDU."""
    await begin_store(connection)
    await connection.send(struct.pack(">BxIIBB", 4, 100_000, 99_996, 1, 0) + bytes(10))


async def mid_message(connection: HostileConnection) -> None:
    """Stop sending between two PDUs of an instance."""
    await begin_store(connection)
    await connection.send(pdv(bytes(1000), 0))


async def garbage(connection: HostileConnection) -> None:
    """Send random bytes."""
    await connection.send(random.randbytes(5_000))


async def endless_command(connection: HostileConnection) -> None:
    """Send a command set that never ends."""
    await connection.associate()
    while True:
        await connection.send(pdv(bytes(500), COMMAND))


async def never_reading(connection: HostileConnection) -> None:
    """Send requests without end and never read an answer."""
    await connection.associate(VERIFICATION)
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    echo = element(0x0002, VERIFICATION.encode() + b"\0") + element(0x0100, b"\x30\0") + element(0x0800, b"\1\1")
    while True:
        await connection.send(pdv(echo, COMMAND | LAST) * 10)


async def large_header(connection: HostileConnection) -> None:
    """Send an instance whose header has LARGE_ITEMS items, and again whenever it is answered; hang up at the end."""
    await connection.associate()
    # This attack is work for the archive, not a slow sender's: through 4 kB an instance would take seconds.
    connection.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(large_store()))
    try:
        while True:
            await connection.send(large_store())
            await connection.receive()
    finally:
        # An association between two instances may stay open for as long as any modality's.
        connection.writer.transport.abort()


KINDS: tuple[Kind, ...] = (
    silent,
    one_byte,
    drip,
    drip_in_pdu,
    crumbs,
    bomb,
    hoard,
    contexts,
    mid_pdu,
    mid_message,
    garbage,
    endless_command,
    never_reading,
    large_header,
)


async def begin_store(connection: HostileConnection) -> None:
    """Associate and send the command of a C-STORE."""
    await connection.associate()
    await connection.send(store_command())


def store_command() -> bytes:
    """Return the command of a C-STORE of an instance 1.2.3."""
    command = (
        element(0x0002, CT.encode() + b"\0")
        + element(0x0100, b"\1\0")
        + element(0x0110, b"\1\0")
        + element(0x0800, b"\0\0")
        + element(0x1000, b"1.2.3\0")
    )
    return pdv(command, COMMAND | LAST)


@cache
def large_store() -> bytes:
    """Return a C-STORE of 2.7 MB. Its data set is read to its end and then refused: it is not the command's instance."""
    return store_command() + b"".join(fragments(large_data_set(), fragment_bytes(16_384)))


def large_line() -> Line:
    """Return the ledger's line of large_store(), whose data set may be found in quarantine."""
    return Line("planned", "local", "", "", "1.2.3", data_hash(EXPLICIT, large_data_set()), EXPLICIT)


@cache
def large_data_set() -> bytes:
    """Return a data set with LARGE_ITEMS items."""
    uids = elements.element(0x00080016, "UI", CT.encode() + b"\0") + elements.element(0x00080018, "UI", b"1.2.4\0")
    items = elements.item(elements.element(0x00080100, "SH", b"CODE"), elements.OPEN) + elements.ITEM_END
    sequence = elements.element(0x0040A730, "SQ", items * LARGE_ITEMS + elements.SEQUENCE_END, elements.OPEN)
    return uids + elements.STUDY_TO_PRIVATE + sequence


def item(kind: int, value: bytes) -> bytes:
    """Return an item of an A-ASSOCIATE-RQ."""
    return struct.pack(">BxH", kind, len(value)) + value


def large_request() -> bytes:
    """Return an association request of 230 kB, as large as it may be; its transfer syntaxes differ each time."""
    return _large_request().replace(MARK, b"%06d" % random.randrange(10**6))


@cache
def _large_request() -> bytes:
    asked = (
        bytes((2 * context + 1, 0, 0, 0))
        + item(0x30, CT.encode())
        + b"".join(item(0x40, b"1.2.3.%b.%d.%d" % (MARK, context, number)) for number in range(64))
        for context in range(128)
    )
    roles = item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\1\1") * 1_900
    titles = struct.pack(">HH16s16s32x", 1, 0, b"FLUORO".ljust(16), b"HOSTILE".ljust(16))
    user = item(0x50, item(0x51, struct.pack(">I", 16384)) + roles)
    body = titles + item(0x10, b"1.2.840.10008.3.1.1.1") + b"".join(item(0x20, one) for one in asked) + user
    return struct.pack(">BxI", 1, len(body)) + body


@dataclass
class Attacker:
    """One hostile peer, which connects again whenever its connection ends; `open` is its open connection, if any."""

    kind: Kind
    peer: Peer
    calls: int = 0
    open: list[HostileConnection] = field(default_factory=list)

    async def run(self) -> None:
        """Attack until cancelled; cancelling leaves the connection open."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                async with connected(self.peer, self.open) as connection:
                    self.calls += 1
                    await self.kind(connection)
                    await until_closed(connection)
            await asyncio.sleep(AGAIN_S)

    async def is_held(self, within_s: float) -> bool:
        """True if the connection is still open after `within_s`, in which nothing is sent and everything is read."""
        try:
            for connection in self.open:
                connection.writer.transport.resume_reading()  # type: ignore[attr-defined]
                await asyncio.wait_for(until_closed(connection), within_s)
        except TimeoutError:
            return True
        except OSError:
            return False
        return False


async def until_closed(connection: HostileConnection) -> None:
    """Read until the peer closes the connection."""
    while await connection.reader.read(65_536):
        pass


@asynccontextmanager
async def connected(peer: Peer, held: list[HostileConnection]) -> AsyncIterator[HostileConnection]:
    """Open a connection for the block, and close it at the end, except when the block is cancelled."""
    client = socket.socket()
    # Bytes that are in large buffers when the attack ends would continue the attack.
    for which in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        client.setsockopt(socket.SOL_SOCKET, which, 4096)
    client.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(client, (peer.host, peer.port))
        connection = HostileConnection(*await asyncio.open_connection(sock=client), peer)
    except BaseException:
        client.close()
        raise
    held[:] = [connection]
    try:
        yield connection
    except asyncio.CancelledError:
        raise
    except BaseException:
        _close(held)
        raise
    else:
        _close(held)


def _close(held: list[HostileConnection]) -> None:
    for connection in held:
        connection.writer.transport.abort()
    held.clear()


async def attack(peer: Peer, sockets: int, seconds: float, grace_s: float) -> dict[str, tuple[int, int, int]]:
    """Attack; return, by kind of attacker, their number, their calls, and how many are still open `grace_s` later."""
    attackers = [Attacker(KINDS[number % len(KINDS)], peer) for number in range(sockets)]
    tasks = [asyncio.create_task(one.run()) for one in attackers]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    held = await asyncio.gather(*(one.is_held(grace_s) for one in attackers))
    there, calls, still = Counter[str](), Counter[str](), Counter[str]()
    for one, is_held in zip(attackers, held, strict=True):
        name = one.kind.__name__
        there[name] += 1
        calls[name] += one.calls
        still[name] += is_held
        _close(one.open)
    return {name: (there[name], calls[name], still[name]) for name in there}


def attack_from_here(results: Connection, peer: Peer, sockets: int, seconds: float, grace_s: float) -> None:
    """Attack in this process, and send the result of attack() to `results`."""
    results.send(asyncio.run(attack(peer, sockets, seconds, grace_s)))
