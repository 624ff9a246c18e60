"""The parts of a request take memory while they arrive, and free it when they are closed."""

import asyncio
from pathlib import Path

from gateway.stow.delivery import PartDelivery
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import stow_world

ONE = part10()


def test_the_beginning_of_a_part_takes_memory_until_its_file_meta_is_complete(tmp_path: Path) -> None:
    async def test() -> None:
        async with stow_world(tmp_path) as world:
            room, part = world.intake.room, PartDelivery(world.intake.acceptance, {})
            part.write(memoryview(ONE[:200]))
            assert room.held_bytes == 200
            part.write(memoryview(ONE[200:]))
            part.end()
            assert room.held_bytes >= len(ONE)
            part.close()
            part.close()

            assert room.held_bytes == 0

    asyncio.run(test())
