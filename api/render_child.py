"""The process that decodes: `python -m api.render_child`, jobs in on standard input, pictures out on standard output.

It holds no secret, no socket and no name of a file. Once its libraries are loaded it can open nothing any more: no new
descriptor, no byte into a file, no more memory than it was given. What still goes wrong in native code ends this process
and costs one answer.
"""

import argparse
import ctypes
import logging
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from operators.errors import Rejected
from operators.imaging.reasons import OUT_OF_MEMORY, UNDECODABLE

Answering = Callable[[bytes, bytes, bytes], tuple[str, bytes]]

# A job begins with its nonce, which its answer repeats: bytes that nobody asked for are the answer to no job.
NONCE_BYTES = 16
READY = bytes(NONCE_BYTES)
# Little-endian sizes: of the job's words (JSON), of its header, of its frame; of the answer's reason and of its body.
JOB = struct.Struct(f"<{NONCE_BYTES}sIQQ")
ANSWER = struct.Struct(f"<{NONCE_BYTES}sIQ")

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
OOM_FIRST = "1000"
# Where the descriptors end that this process has: standard input, output and error, and the answers'.
DESCRIPTORS = 4


def main() -> int:
    """Answer jobs until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m api.render_child", description=__doc__)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--cpu-s", type=int, required=True)
    arguments = parser.parse_args()
    _die_with(arguments.parent)
    _limit(resource.RLIMIT_AS, arguments.memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    answers = _answers()
    answer = _loaded()
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
    _limit(resource.RLIMIT_NPROC, 0)
    _send(answers, READY, "", b"")
    while job := _read_job(sys.stdin.buffer):
        nonce, *pieces = job
        _give_cpu(arguments.cpu_s)
        if not _send(answers, nonce, *answer(*pieces)):
            return 1
    return 0


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent's thread ends, whatever native code is doing then."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    # Where memory runs out, this process is the one to lose.
    Path("/proc/self/oom_score_adj").write_text(OOM_FIRST)


def _answers() -> BinaryIO:
    """Keep standard output for answers alone: what a library prints goes where its errors go."""
    kept = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return kept


def _limit(which: int, most: int) -> None:
    resource.setrlimit(which, (most, most))


def _give_cpu(seconds: int) -> None:
    """Let the process use so many seconds of CPU from now on; SIGXCPU ends it then."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, resource.RLIM_INFINITY))


def _read_job(source: BinaryIO) -> tuple[bytes, bytes, bytes, bytes] | None:
    head = source.read(JOB.size)
    if len(head) < JOB.size:
        return None
    nonce, *sizes = JOB.unpack(head)
    words, header, frame = (source.read(size) for size in sizes)
    return nonce, words, header, frame


def _send(sink: BinaryIO, nonce: bytes, reason: str, body: bytes) -> bool:
    """Write an answer; False after one for which memory ran out: a new process has it whole again."""
    sink.write(ANSWER.pack(nonce, len(reason), len(body)))
    sink.write(reason.encode())
    sink.write(body)
    sink.flush()
    return reason != OUT_OF_MEMORY


def _loaded() -> Answering:
    """Load every library and run through each once: nothing can be loaded once no file can be opened."""
    logging.disable(logging.CRITICAL)  # pydicom logs what a frame says of itself
    # Under this process's limits, not before them.
    from operators.imaging.job import unpack_job  # noqa: PLC0415
    from operators.imaging.render import render, warm_up  # noqa: PLC0415

    warm_up()

    def answer(words: bytes, header: bytes, frame: bytes) -> tuple[str, bytes]:
        try:
            return "", render(unpack_job(words, header, frame))
        except Rejected as error:
            return error.reason, b""
        except MemoryError:
            return OUT_OF_MEMORY, b""
        except Exception:  # noqa: BLE001 - the edge: what nobody foresaw of foreign bytes is one bad frame
            return UNDECODABLE, b""

    return answer


if __name__ == "__main__":
    sys.exit(main())
