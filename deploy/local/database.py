"""Make the catalog's database once: `database.py PLACE BIN USER`, PostgreSQL's programs in BIN, to run as USER (or -).

The cluster is made beside its place and moved there when complete. Roles and
database are made by the single-user server, which reads them from standard
input: no password stands on a command line, and no superuser ever has one.
Standard library only.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script: the clone is where its packages are

from deploy.install.steps import Failed
from deploy.local.places import Place
from deploy.local.supervisor import leashed

USER = "fluoro"
# The fast shutdown: sessions are ended, nothing is waited for.
STOP_SIGNAL = signal.SIGINT
ROLES = ("owner", "writer", "reader")
DATABASE = "fluoro"
# What initdb gives the settings file, and what we add: TCP on loopback alone, passwords everywhere.
SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "password_encryption": "'scram-sha-256'",
    # A row that is refused may hold a patient's name: no DETAIL in the log.
    "log_error_verbosity": "'terse'",
    "log_timezone": "'UTC'",
    "timezone": "'UTC'",
    "shared_buffers": "'128MB'",
    "max_connections": "100",
    "wal_compression": "on",
    "max_wal_size": "'1GB'",
}
# The superuser has no password and is let in nowhere.
ACCESS = "host fluoro owner,writer,reader 127.0.0.1/32 scram-sha-256\n"


def account() -> str | None:
    """Return the system user that PostgreSQL runs as, made if need be; None when it is ourselves. Raises Failed.

    PostgreSQL does not run as root, and initdb wants a user with a name.
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(USER)
    except KeyError:
        make_account()
    return USER


def make_account() -> None:
    """Make the system user."""
    makers = {
        "useradd": ["--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", USER],
        "adduser": ["-S", "-D", "-H", "-h", "/nonexistent", "-s", "/sbin/nologin", USER],
    }
    # Where these lie is not on everyone's PATH.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    program = next((found for name in makers if (found := shutil.which(name, path=path))), None)
    if program is None:
        raise Failed(f"PostgreSQL does not run as root: make a system user named {USER}, or run this as another user")
    made = subprocess.run([program, *makers[Path(program).name]], capture_output=True, text=True, check=False)
    if made.returncode:
        raise Failed(f"no system user {USER} could be made ({made.stderr.strip()}): make it, or run as another user")


def make(place: Place, programs: Path, user: str | None) -> None:
    """Make the cluster, its roles and its database."""
    partial, final = place.root / "postgres.partial", place.root / "postgres"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    if user:
        shutil.chown(partial, user)
    options = ("--username=postgres", "--auth=reject", "--data-checksums", "--no-instructions")
    locale = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
    run((programs / "initdb", "-D", partial, *options, *locale), user, "")
    with (partial / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
    (partial / "pg_hba.conf").write_text(ACCESS)
    # What holds for template1 holds for the database made from it.
    single = (programs / "postgres", "--single", "-j", "-D", partial, "-c", "exit_on_error=on", "template1")
    run(single, user, ";\n\n".join(statements(place)) + ";\n\n")
    partial.rename(final)


def statements(place: Place) -> list[str]:
    """Return the SQL that makes roles and database; passwords are URL-safe base64, so they need no quoting."""
    roles = [f"CREATE ROLE {role} LOGIN PASSWORD '{place.secret(role)}'" for role in ROLES]
    return [
        *roles,
        # Else row-level security keeps LIKE from the trigram index (DECISIONS.md, 6).
        "ALTER FUNCTION pg_catalog.textlike(text, text) LEAKPROOF",
        f"CREATE DATABASE {DATABASE} OWNER owner",
        f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO writer, reader",
    ]


def run(command: tuple[str | Path, ...], user: str | None, text: str) -> None:
    """Run one of PostgreSQL's programs, fed with text; raises Failed."""
    env = {"LC_ALL": "C", "PATH": os.environ.get("PATH", ""), "TZ": "UTC"}
    done = subprocess.run(leashed(command, user), input=text, text=True, cwd="/", env=env, check=False)
    if done.returncode:
        raise Failed(f"{Path(command[0]).name} ended with status {done.returncode}")


if __name__ == "__main__":
    try:
        make(Place(Path(sys.argv[1])), Path(sys.argv[2]), None if sys.argv[3] == "-" else sys.argv[3])
    except Failed as failure:
        sys.exit(str(failure))
