"""Run a program that dies with its parent: `die_with_parent.py PARENT USER PROGRAM [ARGUMENT ...]`.

PARENT is the parent's process id. USER is the system user to become, or - for
the same user. The program then replaces this process. Linux and standard
library only: the script runs with -I -S, to start in milliseconds.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def become(user: str) -> None:
    """Change to a user and its groups, for good."""
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; exit now if the parent has ended already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"the parent, process {parent}, has ended")


if __name__ == "__main__":
    # A change of user clears the death signal, so the signal is set after it.
    if sys.argv[2] != "-":
        become(sys.argv[2])
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606 - the stack's own table names the program
