"""The port of the renderer: whatever turns render jobs into pictures, apart from the caller's process."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from operators.errors import Rejected, Unavailable
from operators.imaging.job import RenderJob


class FrameRejected(Rejected):
    """The frame can never be rendered as asked; `reason` is one of reasons.py, of the header's scan, or too-costly."""


class RendererBusy(Unavailable):
    """Too many jobs are waiting; a later try may succeed."""

    def __init__(self) -> None:
        super().__init__("renderer")


class Renderer(Protocol):
    """Renders frames apart from the caller's process: decoders are native code that runs on bytes from anyone.

    A hostile frame can fail its own job and nothing else, and every job is answered within the renderer's time limits.
    Jobs may run at the same time, in any order.
    """

    async def render(self, fetch: Callable[[], Awaitable[RenderJob]]) -> bytes:
        """Return the picture file of the job that `fetch` returns.

        `fetch` is called when the job's turn comes, so that waiting jobs hold no frame in memory; its errors are raised
        here. Raises FrameRejected, RendererBusy, and Unavailable when the renderer failed for another reason than the
        frame, so that another try may succeed.
        """

    def close(self) -> None:
        """End the renderer; jobs under way raise Unavailable."""
