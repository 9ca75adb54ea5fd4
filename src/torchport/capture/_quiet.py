"""Keeps third-party warnings, logs and prints away from the user, and hands the warnings over for judgement."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import IO, Any

__all__ = ["listening"]

_LOGGERS = ("torch", "onnxscript", "onnx_ir", "onnx")

Listener = Callable[[Warning, type[Warning], str, int], None]
"""Called while the code that warned is still on the stack: message, category, file, line."""


class _OneThread(io.TextIOBase):
    """A stream that swallows what one thread writes; other threads write through."""

    def __init__(self, through: IO[str]) -> None:
        self._through = through
        self._owner = threading.get_ident()
        self._kept = io.StringIO()

    def write(self, text: str) -> int:
        target = self._kept if threading.get_ident() == self._owner else self._through
        return target.write(text)

    def flush(self) -> None:
        self._through.flush()

    def isatty(self) -> bool:
        return self._through.isatty()

    def fileno(self) -> int:
        return self._through.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._through, name)


@contextlib.contextmanager
def _quiet_loggers() -> Iterator[None]:
    # torch attaches handlers to loggers further down as well, so the roots alone do not do.
    names = [name for name in logging.root.manager.loggerDict if name.startswith(tuple(f"{root}." for root in _LOGGERS))]
    saved = [(logger, logger.handlers[:], logger.propagate) for logger in map(logging.getLogger, (*_LOGGERS, *names))]
    try:
        for logger, _, _ in saved:
            logger.handlers[:] = [logging.NullHandler()] if logger.name in _LOGGERS else []
            logger.propagate = logger.name not in _LOGGERS
        yield
    finally:
        for logger, handlers, propagate in saved:
            logger.handlers[:] = handlers
            logger.propagate = propagate


@contextlib.contextmanager
def listening(listener: Listener | None = None, *, verbose: bool = False) -> Iterator[None]:
    """Runs a block whose warnings, logs and prints do not reach the user.

    Args:
        listener: Sees every warning at the moment when it is given.
        verbose: Let all but deprecation warnings through as well.

    Example:
        >>> with listening():
        ...     warnings.warn("nobody sees this")
    """
    with contextlib.ExitStack() as stack:
        if not verbose:
            stack.enter_context(_quiet_loggers())
            stack.enter_context(contextlib.redirect_stdout(_OneThread(sys.stdout)))
            stack.enter_context(contextlib.redirect_stderr(_OneThread(sys.stderr)))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        show = warnings.showwarning

        def hear(
            message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
        ) -> None:
            if listener is not None and isinstance(message, Warning):
                listener(message, category, filename, lineno)
            if verbose and not issubclass(category, DeprecationWarning):  # which exporter is used is not the user's doing
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = hear
        yield
