"""Becomes the command it is given, but dies with the process that started it.

Run as a script: `exec_child.py PARENT_PID COMMAND…`. It is a process of its own because code between fork and exec
is not safe in a program with threads. Imports nothing of ours, so that it takes milliseconds.
"""

from __future__ import annotations

import os
import sys

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9


def main() -> None:
    """Ask the kernel for a SIGKILL when the parent dies (Linux), then exec."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the process that started this one is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
