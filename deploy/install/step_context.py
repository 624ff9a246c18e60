"""The context of a step of the installation: commands, a log, and folders that appear only when complete.

Standard library only.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from deploy.errors import Failed
from deploy.install.diagnosis import diagnose
from deploy.install.disk import discard
from deploy.install.file_lock import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from deploy.install.subprocesses import Subprocesses


@dataclass(frozen=True)
class StepContext:
    """The subprocesses, the log and the output of one running step, and the locks that its child processes keep."""

    subprocesses: Subprocesses
    log: IO[bytes]
    say: Callable[[str], None]
    locks: tuple[int, ...] = ()

    def run(self, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
        """Run a command and return its output, which is written to the log too.

        Raises Failed, with a diagnosis, when it does not end with status 0.
        """
        words = [str(word) for word in command]
        self.log.write(f"\n$ {' '.join(words)}\n".encode())
        self.log.flush()
        start = os.fstat(self.log.fileno()).st_size
        child = self.subprocesses.start(words, stdout=self.log, stderr=self.log, env=env, pass_fds=self.locks)
        status = self.subprocesses.finish(child)
        output = self.logged_from(start)
        if status != 0:
            raise Failed(diagnose(output))
        return output

    def logged_from(self, offset: int) -> str:
        """Return the log's content from an offset in bytes."""
        with Path(self.log.name).open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    @contextmanager
    def building(self, path: Path) -> Iterator[tuple[StepContext, Path] | None]:
        """Yield a folder beside `path` to build in, which becomes `path` when the block ends well.

        Clones may share `path`, so a lock beside it is held during the block, also by the child processes of the
        yielded context. After an installer was killed, the next installer waits until those have ended, and deletes
        what they left. Yields None when `path` exists, for example because another installer has made it.
        """
        partial = path.with_name(f"{path.name}.partial")
        with locked(path.with_name(f"{path.name}.lock"), self.say, self.subprocesses.stopping) as lock:
            if path.exists():
                yield None
                return
            discard(partial)
            partial.mkdir(parents=True)
            try:
                yield replace(self, locks=(*self.locks, lock)), partial
                partial.rename(path)
            finally:
                discard(partial)
