"""The examination of data sets in a process with an event loop, whatever they cost."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from gateway.intake.long_work import LongWork
from operators.dicom.instance import Examination, examining
from operators.dicom.scan import LIMITS, Buffer, ScanLimits, inflate
from operators.dicom.transfer_syntaxes import DEFLATED


class Examiner:
    """Examines the data sets of one process. An ordinary one is done at once."""

    def __init__(self, limits: ScanLimits = LIMITS) -> None:
        self._limits = limits
        self._long_work = LongWork()
        # Inflating may take two seconds, for which zlib leaves the interpreter to others, so it runs in a thread: a
        # single one, so that data sets are inflated one at a time.
        self._inflating = ThreadPoolExecutor(1, "inflate")

    async def examine(self, data: Buffer, transfer_syntax: str, prefix_length: int) -> Examination:
        """Read a data set that begins `prefix_length` bytes into its object; raises Rejected with a Reason."""
        inflated = None
        if transfer_syntax in DEFLATED:
            loop = asyncio.get_running_loop()
            inflated = await loop.run_in_executor(self._inflating, inflate, data, self._limits)
        return await self._long_work.run(examining(data, transfer_syntax, prefix_length, self._limits, inflated))
