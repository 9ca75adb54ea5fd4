"""Becomes the server: ``_launch.py PARENT PROGRAM ARGUMENTS…``. The system ends it when its parent dies, however that comes about."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks for the signal, then becomes the program."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit(1)  # it died already
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
