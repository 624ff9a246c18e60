"""The system user for PostgreSQL when the stack runs as root: PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from deploy.errors import Failed

USER = "fluoro"
# How to make a system user without a home or a shell: by the program of most Linux systems, or by BusyBox's.
MAKERS = {
    "useradd": ["--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", USER],
    "adduser": ["-S", "-D", "-H", "-h", "/nonexistent", "-s", "/sbin/nologin", USER],
}


def existing() -> pwd.struct_passwd | None:
    """Return the account; None when it does not exist yet, or PostgreSQL runs as the present user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        return None


def ensure() -> str | None:
    """Return the account's name, making the account if it is missing; None when PostgreSQL runs as the present user.

    Raises Failed when it cannot be made.
    """
    if os.geteuid() != 0:
        return None
    if existing() is None:
        make()
    return USER


def make() -> None:
    """Make the account, since initdb needs a user with a name; raises Failed when it cannot be made."""
    # /usr/sbin is not on everyone's PATH.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    program = next((found for name in MAKERS if (found := shutil.which(name, path=path))), None)
    if program is None:
        raise Failed(f"PostgreSQL does not run as root: make a system user named {USER}, or run this as another user")
    made = subprocess.run([program, *MAKERS[Path(program).name]], capture_output=True, text=True, check=False)
    if made.returncode:
        raise Failed(f"no system user {USER} could be made ({made.stderr.strip()}): make it, or run as another user")
