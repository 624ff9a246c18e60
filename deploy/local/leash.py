"""Run a program that dies with the one who started it: `leash.py PARENT USER PROGRAM [ARGUMENT ...]`.

PARENT is the starter's process id; USER the system user to become, or - for
the same one. The program takes this process's place. Linux, standard library
only: it runs with -I -S, to start in milliseconds.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def become(user: str) -> None:
    """Drop to a user, its groups with it."""
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its starter ends; end now if that has happened."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"{parent} is gone")


if __name__ == "__main__":
    # A change of user clears what die_with asks for, so that comes second.
    if sys.argv[2] != "-":
        become(sys.argv[2])
    die_with(int(sys.argv[1]))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606 - the stack's own table says what runs
