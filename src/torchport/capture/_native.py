"""Keeps what torch's C++ code writes to the process's standard error away from the user."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_native_warnings"]

_WARNING = re.compile(rb"^\[W\d.*\.cpp:\d+\] ")
"""A line of c10's logger: ``[W1124 01:22:31.731218703 shape_type_inference.cpp:1994] Warning: …``."""


@contextmanager
def quiet_native_warnings(*, verbose: bool = False) -> Iterator[None]:
    """Runs a block; lines that torch's C++ logger wrote to standard error meanwhile are dropped, all others come out after it.

    The trace-based exporter warns from C++, out of reach of Python's ``warnings``; needed until that exporter is removed.
    """
    try:
        before = -1 if verbose else os.dup(2)
    except OSError:
        before = -1
    if before < 0:
        yield
        return
    with tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            for line in kept:
                if not _WARNING.match(line):
                    os.write(2, line)
