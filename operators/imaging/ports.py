"""What the operators ask of whatever renders frames."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from operators.errors import Rejected, Unavailable
from operators.imaging.job import RenderJob


class FrameRejected(Rejected):
    """A frame that can never be rendered as asked; `reason` is one of reasons.py, of the header's scan, or too-costly."""


class RendererBusy(Unavailable):
    """Too many jobs wait already: try again soon."""

    def __init__(self) -> None:
        super().__init__("renderer")


class Renderer(Protocol):
    """Renders frames apart from the caller's process, for decoders run on bytes that anyone may have sent.

    A hostile frame may cost its own job, and nothing else: the caller may rely on an answer within the renderer's
    time limits. Jobs of different callers may run at once, in any order.
    """

    async def render(self, fetch: Callable[[], Awaitable[RenderJob]]) -> bytes:
        """Return the picture file of the job that `fetch` returns.

        `fetch` is called when the job's turn comes, so that no frame lies in memory before; what it raises is raised
        here. Raises FrameRejected; RendererBusy; and Unavailable when the renderer failed for a reason that is not
        the frame's, so that another try may succeed.
        """

    def close(self) -> None:
        """End the renderer; jobs under way raise Unavailable."""
