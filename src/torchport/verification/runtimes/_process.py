"""The parent's side of the child process: exchanges frames with a deadline, and always kills in the end."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from torchport.errors import NoAnswerError, RuntimeFailure
from torchport.ports.limits import limit_said_in
from torchport.verification import child
from torchport.verification._records import Array
from torchport.verification.runtimes._base import shortened

__all__ = ["ChildProcess"]

_LARGEST_FRAME = 1 << 34
"""A header that announces more bytes than this is not ours."""


class ChildProcess:
    """A fresh Python that holds one artifact.

    Whatever it does — crash, hang, print, exit — comes out as a `RuntimeFailure`, and the process is gone afterwards.

    Args:
        kind: ``torchscript`` or ``exported_program``.
        path: The artifact.
        threads: How many threads torch may use there.
        timeout: Seconds for loading and for each answer.

    Raises:
        RuntimeFailure: The artifact does not load.
    """

    def __init__(self, kind: str, path: Path, *, threads: int, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._closed = True
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        (source_end, self._requests), (self._answers, answers_end) = os.pipe(), os.pipe()
        script = [str(Path(child.__file__)), kind, str(path.resolve()), str(threads), str(source_end), str(answers_end)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", *script],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=(source_end, answers_end),
                start_new_session=True,
            )
        finally:
            os.close(source_end)
            os.close(answers_end)
        self._closed = False
        os.set_blocking(self._requests, False)
        os.set_blocking(self._answers, False)
        try:
            self.about, _ = self._exchange(b"", "loading")
        except BaseException:
            self.close()
            raise

    @property
    def ended(self) -> bool:
        """Whether it was closed, or died."""
        return self._closed or self._process.poll() is not None

    def load(self, path: Path, *, timeout: float) -> None:
        """Loads another artifact of the same kind in the place of the first.

        Raises:
            RuntimeFailure: It does not load; the process takes a further one all the same, unless it died.
        """
        self._path, self._timeout = path, timeout
        head = json.dumps({"load": str(path.resolve()), "arrays": []}).encode()
        self.about, _ = self._exchange(struct.pack("<Q", len(head)) + head, "loading")

    def run(self, inputs: Mapping[str, Array], order: Sequence[str]) -> list[Array]:
        """The artifact's outputs, in its own order.

        Raises:
            RuntimeFailure: It refused the inputs, crashed, or did not answer in time.
        """
        _, answer = self._ask(inputs, order)
        return answer

    def watch(self, inputs: Mapping[str, Array], order: Sequence[str], start: int, stop: int) -> tuple[dict[str, Any], list[Array]]:
        """What the artifact's operations read and gave, by number, and the contents of values ``start`` to ``stop``.

        Raises:
            RuntimeFailure: It crashed, or did not answer in time.
        """
        return self._ask(inputs, order, watch=[start, stop])

    def _ask(self, inputs: Mapping[str, Array], order: Sequence[str], **more: Any) -> tuple[dict[str, Any], list[Array]]:
        if self._closed:
            raise RuntimeFailure("the artifact's process has ended already", where=self._path.name, hint="open the artifact again")
        arrays = [[name, _dtype_name(inputs[name]), list(inputs[name].shape)] for name in order]
        head = json.dumps({"order": list(order), "arrays": arrays, **more}).encode()
        body = b"".join([struct.pack("<Q", len(head)), head, *(np.ascontiguousarray(inputs[name]).tobytes() for name in order)])
        return self._exchange(body, "running")

    def close(self) -> None:
        """Kills the process and whatever it started; may be called twice."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        os.close(self._requests)
        os.close(self._answers)
        self._stderr.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def _exchange(self, request: bytes, doing: str) -> tuple[dict[str, Any], list[Array]]:
        """Sends one frame and reads one, both before the deadline."""
        deadline = time.monotonic() + self._timeout
        try:
            answer = self._pump(memoryview(request), deadline)
        except TimeoutError as error:
            self.close()
            raise NoAnswerError(
                f"the artifact did not answer within {self._timeout:g} s while {doing}",
                where=self._path.name,
                hint="a larger timeout, or look for a loop that does not end",
            ) from error
        except _EndedError as error:
            found = self._ending()
            self.close()
            raise RuntimeFailure(f"the artifact's process died while {doing}", where=self._path.name, found=found) from error
        header, arrays = answer
        if "error" in header:
            if said := limit_said_in(str(header["error"])):
                raise RuntimeFailure("the file refuses these sizes", where=self._path.name, found=said[1], expected=said[0])
            raise RuntimeFailure(f"the artifact failed while {doing}", where=self._path.name, found=shortened(str(header["error"]), 800))
        return header, arrays

    def _pump(self, request: memoryview, deadline: float) -> tuple[dict[str, Any], list[Array]]:
        received = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            if request:
                selector.register(self._requests, selectors.EVENT_WRITE)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                for key, _ in selector.select(left):
                    if key.fd == self._requests:
                        request = self._send(self._requests, request)
                        if not request:
                            selector.unregister(self._requests)
                        continue
                    chunk = os.read(self._answers, 1 << 20)
                    if not chunk:
                        raise _EndedError
                    received += chunk
                    if (frame := _parse(received)) is not None:
                        return frame

    @staticmethod
    def _send(descriptor: int, request: memoryview) -> memoryview:
        try:
            return request[os.write(descriptor, request[: 1 << 20]) :]
        except BlockingIOError:
            return request
        except BrokenPipeError:
            raise _EndedError from None

    def _ending(self) -> str:
        """How the process ended, and the last words on its stderr."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.poll()
        if code is None:
            how = "closed its pipe"
        elif code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        else:
            how = f"exit code {code}"
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 2000))
        words = shortened(self._stderr.read().decode(errors="replace"), 300)
        return f"{how}; its last words: {words}" if words else how


class _EndedError(Exception):
    """The child closed its end."""


def _parse(received: bytearray) -> tuple[dict[str, Any], list[Array]] | None:
    """The frame in ``received`` once it is complete."""
    if len(received) < 8:
        return None
    length = struct.unpack("<Q", received[:8])[0]
    if length > _LARGEST_FRAME:
        raise _EndedError
    if len(received) < 8 + length:
        return None
    header = json.loads(received[8 : 8 + length])
    dtypes = [_dtype(name) for _, name, _ in header["arrays"]]
    counts = [prod(shape) for _, _, shape in header["arrays"]]
    if len(received) < 8 + length + sum(dtype.itemsize * count for dtype, count in zip(dtypes, counts, strict=True)):
        return None
    arrays: list[Array] = []
    start = 8 + length
    for (_, _, shape), dtype, count in zip(header["arrays"], dtypes, counts, strict=True):
        data = received[start : start + dtype.itemsize * count]  # a bytearray of its own: what a caller gets can be written to
        arrays.append(np.frombuffer(data, dtype=dtype).reshape(shape))
        start += len(data)
    return header, arrays


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def _dtype_name(array: Array) -> str:
    return "bfloat16" if array.dtype == ml_dtypes.bfloat16 else str(array.dtype)
