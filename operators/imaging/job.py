"""The job of rendering one frame, and its form between processes.

The rendering itself is in render.py, so that a process that only sends jobs loads no decoder.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from operators.imaging.gray import Window
from operators.imaging.request import Rendering, Viewport

# The content of a job's `frame`: the native samples of one frame, the encapsulated fragments of one frame, or the whole
# object if no table lists where its frames are.
Form = Literal["native", "encapsulated", "object"]
JSON_FIELDS = ("transfer_syntax", "number", "form", "rendering", "prefix_length", "most_bytes")


@dataclass(frozen=True)
class RenderJob:
    """Everything needed to render one frame of an instance.

    `number` counts from 1. `header` is the beginning of the object, up to the value of its pixel element; its first
    `prefix_length` bytes are preamble and file meta. `form` tells what `frame` contains. An image that would be larger
    than `most_bytes` when decoded is refused.
    """

    transfer_syntax: str
    number: int
    form: Form
    rendering: Rendering
    prefix_length: int = 0
    most_bytes: int = 0
    header: bytes = field(default=b"", repr=False)
    frame: bytes = field(default=b"", repr=False)

    def with_bytes(self, prefix_length: int, most_bytes: int, header: bytes, frame: bytes) -> "RenderJob":
        """Return this job with the bytes that were read for it."""
        return replace(self, prefix_length=prefix_length, most_bytes=most_bytes, header=header, frame=frame)


def pack_job(job: RenderJob) -> bytes:
    """Return a job's fields as JSON, without `header` and `frame`, which are sent beside it as bytes."""
    return orjson.dumps({name: getattr(job, name) for name in JSON_FIELDS})


def unpack_job(fields_json: bytes, header: bytes, frame: bytes) -> RenderJob:
    """Return the job from the JSON of pack_job() and its header and frame."""
    fields: dict[str, Any] = orjson.loads(fields_json)
    return RenderJob(**(fields | {"rendering": _rendering(fields["rendering"])}), header=header, frame=frame)


def _rendering(fields: dict[str, Any]) -> Rendering:
    window, viewport = fields["window"], fields["viewport"]
    window = Window(**window) if window else None
    return Rendering(**(fields | {"window": window, "viewport": Viewport(**viewport) if viewport else None}))
