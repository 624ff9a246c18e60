"""The port of the renderer, which turns render jobs into pictures outside the caller's process."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from operators.errors import Rejected, Unavailable
from operators.imaging.job import RenderJob


class FrameRejected(Rejected):
    """The frame can never be rendered as requested; `reason` is from reasons.py or the header scan, or too-costly."""


class RendererBusy(Unavailable):
    """Too many jobs are waiting; a later try may succeed."""

    def __init__(self) -> None:
        super().__init__("renderer")


class Renderer(Protocol):
    """Renders frames outside the caller's process, because decoders are native code that runs on untrusted bytes.

    A hostile frame can fail only its own job, and every job is answered within the renderer's time limits. Jobs may run
    at the same time, in any order.
    """

    async def render(self, fetch: Callable[[], Awaitable[RenderJob]]) -> bytes:
        """Return the picture file of the job that `fetch` returns.

        `fetch` is called when the job's turn comes, so that waiting jobs hold no frame in memory; its errors are raised
        here. Raises FrameRejected, RendererBusy, and Unavailable when the failure was not the frame's fault, so that
        another try may succeed.
        """

    def close(self) -> None:
        """Stop the renderer; jobs in progress raise Unavailable."""
