"""A server of the tests leaves no connection open, whenever its block ends."""

import asyncio
import gc
import socket
from contextlib import suppress

import pytest

from tests.support.servers.faulty_servers import listening, swallow


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_is_closed_with_its_server_at_whichever_turn_of_the_loop_the_block_ends(turns: int) -> None:
    async def ends() -> socket.socket:
        async with listening(swallow) as port:
            peer = socket.create_connection(("127.0.0.1", port), timeout=5)
            for _ in range(turns):
                await asyncio.sleep(0)
        return peer

    with asyncio.run(ends()) as peer, suppress(ConnectionResetError):
        # What was left open is a ResourceWarning here, and so an error of this test.
        gc.collect()
        assert peer.recv(1) == b""
