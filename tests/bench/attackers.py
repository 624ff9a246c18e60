"""Peers that mean no good: each holds a connection to a DIMSE door in its own way, and comes back when it is thrown out.

Meant to cost less than what they attack, in a process of their own.
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

from tests.support.senders.scu import COMMAND, LAST, element, pdv, request
from tests.support.senders.sender import Peer

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
# How soon one that was thrown out calls again.
AGAIN_S = 0.5
# What stands in a flood for a number that is drawn each time.
MARK = b"000000"
ABORT = b"\x07\0\0\0\0\4\0\0\0\0"


@dataclass(frozen=True)
class Line:
    """A connection to the door."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: Peer

    async def say(self, data: bytes) -> None:
        """Send; raises ConnectionError when there is nobody any more."""
        self.writer.write(data)
        await self.writer.drain()

    async def associate(self, sop_class: str = CT) -> None:
        """Send a right association request and wait for an answer to it."""
        await self.say(request(self.peer, sop_class, EXPLICIT))
        head = await self.reader.readexactly(6)
        await self.reader.readexactly(struct.unpack(">I", head[2:])[0])

    async def drip(self, data: bytes, bytes_per_s: int) -> None:
        """Send so slowly, ten pieces a second."""
        step = max(1, bytes_per_s // 10)
        for start in range(0, len(data), step):
            await self.say(data[start : start + step])
            await asyncio.sleep(0.1)


Kind = Callable[[Line], Awaitable[None]]


async def silent(line: Line) -> None:
    """Say nothing."""


async def one_byte(line: Line) -> None:
    """Begin and leave it at that."""
    await line.say(b"\x01")


async def drip(line: Line) -> None:
    """Ask for an association at 100 B/s."""
    await line.drip(flood(), 100)


async def drip_in_pdu(line: Line) -> None:
    """Send a data PDU at 100 B/s."""
    await begin(line)
    await line.drip(struct.pack(">BxIIBB", 4, 100_000, 99_996, 1, 0) + bytes(99_994), 100)


async def crumbs(line: Line) -> None:
    """Send an instance in PDUs of one byte, ten a second."""
    await begin(line)
    await line.drip(pdv(b"x", 0) * 100_000, 130)


async def bomb(line: Line) -> None:
    """Announce 600 MB and send them."""
    await line.say(struct.pack(">BxI", 1, 600_000_000))
    while True:
        await line.say(bytes(65_536))


async def hoard(line: Line) -> None:
    """Send nearly all of as long a request as there may be."""
    await line.say(struct.pack(">BxI", 1, 524_288) + bytes(524_000))


async def contexts(line: Line) -> None:
    """Ask for 128 contexts of 64 transfer syntaxes, over and over."""
    await line.say(flood())
    await line.reader.readexactly(6)
    await line.say(ABORT)


async def mid_pdu(line: Line) -> None:
    """Fall silent within a data PDU."""
    await begin(line)
    await line.say(struct.pack(">BxIIBB", 4, 100_000, 99_996, 1, 0) + bytes(10))


async def mid_message(line: Line) -> None:
    """Fall silent between two PDUs of an instance."""
    await begin(line)
    await line.say(pdv(bytes(1000), 0))


async def garbage(line: Line) -> None:
    """Send what is no DICOM."""
    await line.say(random.randbytes(5_000))


async def endless_command(line: Line) -> None:
    """Send a command set that never ends."""
    await line.associate()
    while True:
        await line.say(pdv(bytes(500), COMMAND))


async def never_reading(line: Line) -> None:
    """Ask without end and hear no answer."""
    await line.associate(VERIFICATION)
    line.writer.transport.pause_reading()  # type: ignore[attr-defined]
    echo = element(0x0002, VERIFICATION.encode() + b"\0") + element(0x0100, b"\x30\0") + element(0x0800, b"\1\1")
    while True:
        await line.say(pdv(echo, COMMAND | LAST) * 10)


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
)


async def begin(line: Line) -> None:
    """Associate and announce an instance."""
    await line.associate()
    command = (
        element(0x0002, CT.encode() + b"\0")
        + element(0x0100, b"\1\0")
        + element(0x0110, b"\1\0")
        + element(0x0800, b"\0\0")
        + element(0x1000, b"1.2.3\0")
    )
    await line.say(pdv(command, COMMAND | LAST))


def item(kind: int, value: bytes) -> bytes:
    """Return an item of an A-ASSOCIATE-RQ."""
    return struct.pack(">BxH", kind, len(value)) + value


def flood() -> bytes:
    """Return as much of an association request as may be asked, 230 kB, in no word like the last one."""
    return _flood().replace(MARK, b"%06d" % random.randrange(10**6))


@cache
def _flood() -> bytes:
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
    """One place in the attack, always taken: who is thrown out comes back."""

    kind: Kind
    peer: Peer
    calls: int = 0
    open: list[Line] = field(default_factory=list)

    async def run(self) -> None:
        """Attack until cancelled, which leaves the connection as it is then."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                async with connected(self.peer, self.open) as line:
                    self.calls += 1
                    await self.kind(line)
                    await until_closed(line)
            await asyncio.sleep(AGAIN_S)

    async def is_held(self, within_s: float) -> bool:
        """True if the connection is still open after so long, in which nothing is sent and everything is read."""
        try:
            for line in self.open:
                line.writer.transport.resume_reading()  # type: ignore[attr-defined]
                await asyncio.wait_for(until_closed(line), within_s)
        except TimeoutError:
            return True
        except OSError:
            return False
        return False


async def until_closed(line: Line) -> None:
    """Hear whatever comes until nothing will."""
    while await line.reader.read(65_536):
        pass


@asynccontextmanager
async def connected(peer: Peer, held: list[Line]) -> AsyncIterator[Line]:
    """Have a connection, closed when it is of no more use but not when this is cancelled."""
    connection = socket.socket()
    # What has not gone when the attack ends would go on attacking.
    for which in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, which, 4096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (peer.host, peer.port))
    line = Line(*await asyncio.open_connection(sock=connection), peer)
    held[:] = [line]
    try:
        yield line
    except asyncio.CancelledError:
        raise
    except BaseException:
        _close(held)
        raise
    else:
        _close(held)


def _close(held: list[Line]) -> None:
    for line in held:
        line.writer.transport.abort()
    held.clear()


async def attack(peer: Peer, sockets: int, seconds: float, grace_s: float) -> dict[str, tuple[int, int, int]]:
    """Attack with so many sockets for so long; give, by kind, how many there were, called, and are open grace_s later."""
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


def attack_from_here(told: Connection, peer: Peer, sockets: int, seconds: float, grace_s: float) -> None:
    """Attack, and tell what came of it: the whole of a process."""
    told.send(asyncio.run(attack(peer, sockets, seconds, grace_s)))
