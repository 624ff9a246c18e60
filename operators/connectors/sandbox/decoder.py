"""The decoding process: `python -m operators.connectors.sandbox.decoder` reads jobs and writes pictures.

It has no secrets, sockets or file names. Once its libraries are loaded it cannot open a descriptor, write to a file or
use more memory than its limit. If native code crashes all the same, only this process ends, and one job fails.
"""

import argparse
import ctypes
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from operators.connectors.sandbox.protocol import ANSWER, JOB, READY
from operators.errors import Rejected
from operators.imaging.reasons import OUT_OF_MEMORY, UNDECODABLE

# Takes a job's JSON, header and frame; returns a reason, or '' and the picture.
Decoder = Callable[[bytes, bytes, bytes], tuple[str, bytes]]

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
# The highest score: when the machine runs out of memory, the kernel kills this process first.
OOM_SCORE = "1000"
# Standard input, output and error, and the descriptor for answers.
DESCRIPTORS = 4


def main() -> int:
    """Answer jobs until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m operators.connectors.sandbox.decoder", description=__doc__)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--cpu-s", type=int, required=True)
    arguments = parser.parse_args()
    _die_with_parent(arguments.parent)
    _limit(resource.RLIMIT_AS, arguments.memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    answers = _take_standard_output()
    decode = _load_decoder()
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
    _limit(resource.RLIMIT_NPROC, 0)
    _send(answers, READY, "", b"")
    while job := _read_job(sys.stdin.buffer):
        nonce, *pieces = job
        limit_cpu(arguments.cpu_s)
        if not _send(answers, nonce, *decode(*pieces)):
            return 1
    return 0


def _die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when its parent's thread ends, even in the middle of native code."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)


def limit_cpu(seconds: int) -> None:
    """Make the kernel end this process by SIGXCPU when it has used `seconds` more of CPU time, rounded up."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, resource.RLIM_INFINITY))


def _take_standard_output() -> BinaryIO:
    """Return a stream for answers alone, and send what libraries print on standard output to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _limit(kind: int, most: int) -> None:
    resource.setrlimit(kind, (most, most))


def _read_job(source: BinaryIO) -> tuple[bytes, bytes, bytes, bytes] | None:
    head = source.read(JOB.size)
    if len(head) < JOB.size:
        return None
    nonce, *sizes = JOB.unpack(head)
    fields_json, header, frame = (source.read(size) for size in sizes)
    return nonce, fields_json, header, frame


def _send(sink: BinaryIO, nonce: bytes, reason: str, picture: bytes) -> bool:
    """Write an answer; False if the job ran out of memory, so that this process must end and free its memory."""
    sink.write(ANSWER.pack(nonce, len(reason), len(picture)))
    sink.write(reason.encode())
    sink.write(picture)
    sink.flush()
    return reason != OUT_OF_MEMORY


def _load_decoder() -> Decoder:
    """Return the decoder with every library loaded and used once: later this process cannot open files."""
    logging.disable(logging.CRITICAL)  # pydicom's log lines may contain bytes of frames
    # Imported here, so that the libraries are loaded under this process's limits.
    from operators.imaging.job import unpack_job  # noqa: PLC0415
    from operators.imaging.render import render, warm_up  # noqa: PLC0415

    warm_up()

    def decode(fields_json: bytes, header: bytes, frame: bytes) -> tuple[str, bytes]:
        try:
            return "", render(unpack_job(fields_json, header, frame))
        except Rejected as error:
            return error.reason, b""
        except MemoryError:
            return OUT_OF_MEMORY, b""
        except Exception:  # noqa: BLE001 - the edge: an unforeseen error of a library fails this frame alone
            return UNDECODABLE, b""

    return decode


if __name__ == "__main__":
    sys.exit(main())
