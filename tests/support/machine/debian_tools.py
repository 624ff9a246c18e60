"""DICOM programs of other makers, fetched from Debian or Ubuntu without root and run from a folder of the project.

`python -m tests.support.machine.debian_tools` fetches the programs and prints the folder that they are in.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[3] / ".tools" / "debian"
# The loader belongs to the system's own C library: another one must never be beside it.
NEVER = {"libc6"}
TAKE = ("lib", "zlib1g")
UNWANTED = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")


class ProgramsUnavailable(RuntimeError):
    """The machine is no Debian or Ubuntu, or its package archive does not answer."""


@dataclass(frozen=True)
class Programs:
    """The programs of unpacked packages, and the environment that they need."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which the programs find their libraries and their dictionary."""
        dictionary = sorted(self.folder.glob("usr/share/libdcmtk*/dicom.dic"))
        libraries = sorted({str(path.parent) for path in self.folder.glob("**/lib*.so.*")})
        return {
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "DCMDICTPATH": os.pathsep.join(str(path) for path in dictionary),
            # Without this variable, Nagle's algorithm and delayed ACKs cost 40 ms per message.
            "TCP_NODELAY": "1",
        }

    def command(self, program: str, *arguments: object) -> list[str]:
        """Return the command line of a program."""
        return [str(self.folder / "usr" / "bin" / program), *map(str, arguments)]

    def run(self, program: str, *arguments: object, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; raises CalledProcessError with its output when it failed."""
        return subprocess.run(
            self.command(program, *arguments),
            env=os.environ | self.environment,
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )


def dcmtk(folder: Path = FOLDER) -> Programs:
    """Return dcmtk's programs, which the first call fetches; raises ProgramsUnavailable."""
    stamp = folder / f"complete-{platform.machine()}"
    with only_one(folder):
        if not stamp.exists():
            fetch(folder)
            stamp.touch()
    return Programs(folder)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Let one process at a time into the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(folder: Path) -> None:
    """Unpack dcmtk and, only if this system lacks some of them, the libraries that it needs."""
    if not all(shutil.which(program) for program in ("apt-get", "apt-cache", "dpkg-deb")):
        raise ProgramsUnavailable("dcmtk is fetched with apt-get, which this machine lacks: use a Debian or Ubuntu")
    apt = Apt.ready(folder / "apt")
    wanted = apt.needed_by("dcmtk")
    apt.unpack([name for name in wanted if "dcmtk" in name], folder)
    if lacks_libraries(folder):
        apt.unpack([name for name in wanted if "dcmtk" not in name], folder)
    shutil.rmtree(folder / "apt", ignore_errors=True)
    if lacks_libraries(folder):
        raise ProgramsUnavailable("dcmtk was fetched, but some of its libraries are missing")


def lacks_libraries(folder: Path) -> bool:
    """True if storescu would not start because a library is missing."""
    programs = Programs(folder)
    return "not found" in output_of(["ldd", programs.command("storescu")[0]], programs.environment)


@dataclass(frozen=True)
class Apt:
    """The package archive of this distribution, used without root."""

    folder: Path
    options: tuple[str, ...] = ()

    @classmethod
    def ready(cls, folder: Path) -> "Apt":
        """Return an archive with the system's lists of packages, or with new lists where the system has none."""
        folder.mkdir(parents=True, exist_ok=True)
        system = cls(folder)
        if "Package: dcmtk" in output_of(["apt-cache", "show", "dcmtk"]):
            return system
        (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (folder / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        own = cls(folder, ("-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"))
        output_of(["apt-get", *own.options, "update"])
        return own

    def needed_by(self, package: str) -> list[str]:
        """Return the names of a package and of every library that it needs, directly or not."""
        without = [f"--no-{kind}" for kind in UNWANTED]
        found = output_of(["apt-cache", *self.options, "depends", "--recurse", *without, package])
        names = {line.strip() for line in found.splitlines() if line[:1].isalpha()}
        return sorted(name for name in names - NEVER if name == package or name.startswith(TAKE))

    def unpack(self, packages: list[str], folder: Path) -> None:
        """Download packages and unpack their files into a folder."""
        output_of(["apt-get", *self.options, "download", *packages], cwd=self.folder)
        for deb in self.folder.glob("*.deb"):
            output_of(["dpkg-deb", "-x", str(deb), str(folder)])
            deb.unlink()


def output_of(command: list[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program of the system and return its output; raises ProgramsUnavailable when it failed."""
    environment = os.environ | {"LC_ALL": "C"} | dict(environment or {})
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode and command[0] != "apt-cache":
        raise ProgramsUnavailable(f"{command[0]} {command[1]} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{dcmtk().folder / 'usr' / 'bin'}\n")
    except ProgramsUnavailable as error:
        sys.exit(str(error))
