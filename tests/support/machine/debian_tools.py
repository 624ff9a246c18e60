"""Programs of other makers, fetched from Debian or Ubuntu without root and run from a folder of the project.

`python -m tests.support.machine.debian_tools` fetches them and prints the folders that they are in.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parents[3] / ".tools"
# The loader belongs to the system's own C library: another one must never be beside it.
NEVER = {"libc6"}


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
        libraries = sorted({str(path.parent) for path in self.folder.glob("**/lib*.so*")})
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


@dataclass(frozen=True)
class Package:
    """What is fetched: packages that are needed even where the system has them, and the program that must start."""

    names: tuple[str, ...]
    program: str


DCMTK = Package(("dcmtk",), "usr/bin/storescu")
CHROMIUM = Package(("chromium", "chromium-common"), "usr/lib/chromium/chromium")
PROMETHEUS = Package(("prometheus",), "usr/bin/prometheus")
ORTHANC = Package(("orthanc", "orthanc-dicomweb", "orthanc-postgresql"), "usr/sbin/Orthanc")


def dcmtk(folder: Path = TOOLS / "debian") -> Programs:
    """Return dcmtk's programs, which the first call fetches; raises ProgramsUnavailable."""
    return fetched(DCMTK, folder)


def chromium(folder: Path = TOOLS / "chromium") -> Programs:
    """Return the browser, which the first call fetches; raises ProgramsUnavailable."""
    return fetched(CHROMIUM, folder)


def prometheus(folder: Path = TOOLS / "prometheus") -> Programs:
    """Return Prometheus and promtool, which the first call fetches; raises ProgramsUnavailable."""
    return fetched(PROMETHEUS, folder)


def orthanc(folder: Path = TOOLS / "orthanc") -> Programs:
    """Return Orthanc and its plugins, which the first call fetches; raises ProgramsUnavailable."""
    return fetched(ORTHANC, folder)


def fetched(package: Package, folder: Path) -> Programs:
    """Return a package's programs, fetched unless they are there."""
    stamp = folder / f"complete-{platform.machine()}"
    with only_one(folder):
        if not stamp.exists():
            fetch(package, folder)
            stamp.touch()
    return Programs(folder)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Let one process at a time into the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(package: Package, folder: Path) -> None:
    """Unpack a package and the libraries that it needs and this system lacks."""
    if not all(shutil.which(program) for program in ("apt-get", "dpkg-deb")):
        raise ProgramsUnavailable(f"{package.names[0]} is fetched with apt-get: use a Debian or Ubuntu")
    apt = Apt(folder / "apt")
    try:
        apt.unpack(package.names, folder)
    except ProgramsUnavailable:
        # The system has no lists of packages, or old ones: versions that were replaced are not served any more.
        apt = apt.with_new_lists()
        apt.unpack(package.names, folder)
    if lacks_libraries(package, folder):
        apt.unpack(apt.needed_by(package.names), folder)
    shutil.rmtree(folder / "apt", ignore_errors=True)
    if lacks_libraries(package, folder):
        raise ProgramsUnavailable(f"{package.names[0]} was fetched, but some of its libraries are missing")


def lacks_libraries(package: Package, folder: Path) -> bool:
    """True if the program would not start because a library is missing."""
    return "not found" in output_of(["ldd", str(folder / package.program)], Programs(folder).environment)


@dataclass(frozen=True)
class Apt:
    """The package archive of this distribution, used without root."""

    folder: Path
    options: tuple[str, ...] = ()

    def with_new_lists(self) -> "Apt":
        """Return the same archive with lists of packages that are read now."""
        (self.folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (self.folder / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        lists, cache = f"Dir::State::lists={self.folder / 'lists'}", f"Dir::Cache={self.folder / 'cache'}"
        own = Apt(self.folder, ("-o", lists, "-o", cache))
        output_of(["apt-get", *own.options, "update"])
        return own

    def needed_by(self, packages: Sequence[str]) -> list[str]:
        """Return the names of what an installation of packages would add to this system."""
        simulated = output_of(["apt-get", *self.options, "--simulate", "--no-install-recommends", "install", *packages])
        added = {line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")}
        return sorted(added - NEVER - set(packages))

    def unpack(self, packages: Sequence[str], folder: Path) -> None:
        """Download packages and unpack their files into a folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        output_of(["apt-get", *self.options, "download", *packages], cwd=self.folder)
        for deb in self.folder.glob("*.deb"):
            output_of(["dpkg-deb", "-x", str(deb), str(folder)])
            deb.unlink()


def output_of(command: list[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program of the system and return its output; raises ProgramsUnavailable when it failed."""
    environment = os.environ | {"LC_ALL": "C"} | dict(environment or {})
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise ProgramsUnavailable(f"{command[0]} {command[1]} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{dcmtk().folder / 'usr' / 'bin'}\n{chromium().folder / 'usr' / 'lib' / 'chromium'}\n")
        sys.stdout.write(f"{prometheus().folder / 'usr' / 'bin'}\n{orthanc().folder / 'usr' / 'sbin'}\n")
    except ProgramsUnavailable as error:
        sys.exit(str(error))
