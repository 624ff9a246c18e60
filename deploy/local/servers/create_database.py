"""Create the catalog's database: `create_database.py FOLDER PROGRAMS USER`.

FOLDER is the data folder, PROGRAMS the folder of PostgreSQL's programs, USER
the system user to run them as, or - for the same user. The cluster is made
beside its final folder and moved there when it is complete. Roles and database
are created by the single-user server, which reads SQL from standard input: no
password is on a command line, and the superuser has none.
Standard library only: the script runs with -S.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# As a script: the packages are in the clone's root.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from deploy.errors import Failed
from deploy.local.data_folder import DataFolder
from deploy.local.supervision.programs import tied_to_this_process

ROLES = ("owner", "writer", "reader")
DATABASE = "fluoro"
# Added to the postgresql.conf that initdb makes: TCP on loopback only, and passwords for everyone.
SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "password_encryption": "'scram-sha-256'",
    # The DETAIL of a refused row may hold a patient's name, so the log has none.
    "log_error_verbosity": "'terse'",
    "log_timezone": "'UTC'",
    "timezone": "'UTC'",
    "shared_buffers": "'128MB'",
    "max_connections": "100",
    "wal_compression": "on",
    "max_wal_size": "'1GB'",
}
# pg_hba.conf: the superuser has no password, and may connect from nowhere.
ACCESS = "host fluoro owner,writer,reader 127.0.0.1/32 scram-sha-256\n"


def create(folder: DataFolder, programs: Path, user: str | None) -> None:
    """Create the cluster, its roles and its database; raises Failed when a program of PostgreSQL fails."""
    partial, final = folder.root / "postgres.partial", folder.root / "postgres"
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
    # Databases are copies of template1, so the altered function is in the new one too.
    single_user = (programs / "postgres", "--single", "-j", "-D", partial, "-c", "exit_on_error=on", "template1")
    run(single_user, user, ";\n\n".join(statements(folder)) + ";\n\n")
    partial.rename(final)


def statements(folder: DataFolder) -> list[str]:
    """Return the SQL that creates roles and database; passwords are URL-safe base64, so they need no quoting."""
    roles = [f"CREATE ROLE {role} LOGIN PASSWORD '{folder.secret(role)}'" for role in ROLES]
    return [
        *roles,
        # Otherwise row-level security keeps LIKE and && from using their indexes (DECISIONS.md, 6).
        "ALTER FUNCTION pg_catalog.textlike(text, text) LEAKPROOF",
        "ALTER FUNCTION pg_catalog.arrayoverlap(anyarray, anyarray) LEAKPROOF",
        f"CREATE DATABASE {DATABASE} OWNER owner",
        f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO writer, reader",
    ]


def run(command: tuple[str | Path, ...], user: str | None, text: str) -> None:
    """Run one of PostgreSQL's programs with `text` on standard input; raises Failed when it does not end well."""
    env = {"LC_ALL": "C", "PATH": os.environ.get("PATH", ""), "TZ": "UTC"}
    done = subprocess.run(tied_to_this_process(command, user), input=text, text=True, cwd="/", env=env, check=False)
    if done.returncode:
        raise Failed(f"{Path(command[0]).name} ended with status {done.returncode}")


if __name__ == "__main__":
    try:
        create(DataFolder(Path(sys.argv[1])), Path(sys.argv[2]), None if sys.argv[3] == "-" else sys.argv[3])
    except Failed as failure:
        sys.exit(str(failure))
