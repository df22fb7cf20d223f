"""`python die_with_parent.py PARENT_PID COMMAND...` becomes COMMAND, which the kernel ends when PARENT_PID dies.

So a builder does not go on for minutes after its app was killed. Run as a file, never imported: it needs nothing of
ours. Linux forgets the setting neither at exec nor for a changed name; only a set-user-ID program would clear it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that line
        sys.exit(1)
    os.execv(command[0], command)
