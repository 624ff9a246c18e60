"""Render jobs made from files, and the pictures that they become."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from operators.dicom.frames import frame_range
from operators.dicom.instance import examine
from operators.dicom.part10 import split_part10
from operators.errors import Rejected
from operators.imaging.job import RenderJob
from operators.imaging.render import decode_job, render
from operators.imaging.request import Rendering

MOST_BYTES = 64 * 2**20
PNG = Rendering("image/png")


def job_of(whole: bytes, number: int = 1, rendering: Rendering = PNG) -> RenderJob | None:
    """Return the job that renders a frame of a file; None when it has no such frame."""
    split = split_part10(whole)
    frames = examine(whole[split.prefix_length :], split.transfer_syntax, split.prefix_length).frames
    syntax, prefix_length = split.transfer_syntax, split.prefix_length
    if frames.kind == "none" or number > frames.count:
        return None
    if frames.kind == "unlisted":
        return RenderJob(syntax, number, "object", rendering).with_bytes(prefix_length, MOST_BYTES, b"", whole)
    start, end = frame_range(frames, number)
    job = RenderJob(syntax, number, frames.kind, rendering)
    return job.with_bytes(prefix_length, MOST_BYTES, whole[: frames.offset], whole[start:end])


def storable_job_of(whole: bytes) -> RenderJob | None:
    """Return the job of a file's first frame; None also where the file could not have been stored."""
    try:
        return job_of(whole)
    except Rejected:
        return None


def opened(picture: bytes) -> NDArray[np.uint8]:
    """Return a picture file's pixels."""
    with Image.open(BytesIO(picture)) as image:
        return np.asarray(image)


def samples_of(whole: bytes, number: int = 1) -> NDArray[Any]:
    """Return the decoded samples of a frame of a file, before they are displayed."""
    job = job_of(whole, number)
    assert job
    return decode_job(job)[2].samples


def picture_of(job: RenderJob) -> NDArray[np.uint8]:
    """Return the pixels of a job's picture."""
    return opened(render(job))
