"""The process that decodes: `python -m operators.connectors.sandbox.decoder`, jobs in, pictures out.

It holds no secret, no socket and no name of a file. Once its libraries are loaded it can open no descriptor, write no
byte into a file and take no more memory than its limit. What goes wrong in native code all the same ends this process,
and costs one answer.
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
# The most that a process can score: where memory runs out, the kernel ends it before any other.
OOM_SCORE = "1000"
# Standard input, output and error, and the answers' own: a process has no more descriptors than these.
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
    """Have the kernel kill this process when its parent's thread ends, whatever native code is doing then."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)


def limit_cpu(seconds: int) -> None:
    """Have the kernel end this process by SIGXCPU after this many more seconds of CPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, resource.RLIM_INFINITY))


def _take_standard_output() -> BinaryIO:
    """Return standard output, for answers alone: what a library prints goes to standard error from now on."""
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
    """Write an answer; False if memory ran out over its job: a new process then has all of its memory again."""
    sink.write(ANSWER.pack(nonce, len(reason), len(picture)))
    sink.write(reason.encode())
    sink.write(picture)
    sink.flush()
    return reason != OUT_OF_MEMORY


def _load_decoder() -> Decoder:
    """Load every library and run each once: once no file can be opened, nothing more can be loaded."""
    logging.disable(logging.CRITICAL)  # pydicom quotes frames in its log lines
    # Under this process's limits, not before them.
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
        except Exception:  # noqa: BLE001 - the edge: what nobody foresaw of foreign bytes is one bad frame
            return UNDECODABLE, b""

    return decode


if __name__ == "__main__":
    sys.exit(main())
