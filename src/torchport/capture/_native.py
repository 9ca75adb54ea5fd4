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


_END = re.compile(rb"\s*\(function \w+\)")


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
            inside = False  # the lines of a compiler's warning that show the source end with its function
            for line in kept:
                if _WARNING.match(line):
                    inside = b"ir_emitter.cpp" in line
                elif not inside:
                    os.write(2, line)
                elif _END.match(line):
                    inside = False
