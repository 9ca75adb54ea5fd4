"""The server as a process that is always stopped: by the context, by an interruption, and by the death of whoever started it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from torchport.errors import OptionError, ServeError
from torchport.repository._unfinished import UNFINISHED
from torchport.serving.client import Client
from torchport.serving.environment import ServerEnvironment, find_server

__all__ = ["Ports", "TritonServer", "free_ports"]

_WAIT = 0.05
_GRACE = 15.0
_ANSWER = 10.0
_ATTEMPTS = 3
_TAKEN = "already in use"


@dataclass(frozen=True)
class Ports:
    """Where the server listens."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


def free_ports(host: str = "127.0.0.1") -> Ports:
    """Three ports that nobody listens on at the moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind((host, 0))
        return Ports(*(one.getsockname()[1] for one in sockets))


class TritonServer:
    """A server for one repository; a context manager. It listens on the loopback address unless told otherwise.

    The process ends with the context, and when the thread that entered it dies, even by a signal that nobody can catch.

    Args:
        repository: The model repository.
        environment: Where the server is; ``None`` means here.
        host: The address to listen on.
        ports: Where; ``None`` takes free ones, and others where somebody else was faster.
        options: Further options of ``tritonserver``.
        timeout: Seconds that starting may take.
        grace: Seconds that it has to stop by itself.

    Attributes:
        settled: What had to be done to the repository before it was served; empty where nothing had.

    Example:
        >>> with TritonServer("repository") as server:  # doctest: +SKIP
        ...     answer = server.client.infer("keyword", {"mel": mel})
    """

    def __init__(
        self,
        repository: str | os.PathLike[str],
        *,
        environment: ServerEnvironment | None = None,
        host: str = "127.0.0.1",
        ports: Ports | None = None,
        options: Sequence[str] = (),
        timeout: float = 120.0,
        grace: float = _GRACE,
    ) -> None:
        self.repository = Path(repository)
        self.host = host
        self.ports = ports or free_ports(host)
        self._attempts = _ATTEMPTS if ports is None else 1
        self._environment = environment
        self._options = tuple(options)
        self._timeout = timeout
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._region = f"torchport_{uuid.uuid4().hex[:12]}_"
        self._last_log = ""
        self.settled = ""

    @property
    def client(self) -> Client:
        """A client of the server's HTTP port."""
        return Client(f"http://{self.host}:{self.ports.http}")

    @property
    def grpc_address(self) -> str:
        """Host and port of its gRPC service."""
        return f"{self.host}:{self.ports.grpc}"

    @property
    def log(self) -> str:
        """What the server has logged; after it was stopped: all of it."""
        if self._folder is None:
            return self._last_log
        path = Path(self._folder.name) / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def folder(self) -> Path:
        """A folder of its own, as long as it runs.

        Raises:
            ServeError: It does not run.
        """
        if self._folder is None:
            raise ServeError("the server does not run", where=str(self.repository))
        return Path(self._folder.name)

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts it, and waits until it has tried to load its models.

        Raises:
            ServeError: It does not start; the message holds the last error of its log.
            MissingDependencyError: There is no server.
            OptionError: There is no such repository, or something listens on its ports already.
        """
        if not self.repository.is_dir():
            raise OptionError("there is no such model repository", stage="serve", where="repository", found=str(self.repository))
        self._check_ports()
        environment = self._environment or find_server()
        self._settle()
        for attempt in range(1, self._attempts + 1):
            try:
                self._start(environment)
                return
            except ServeError:
                if attempt == self._attempts or _TAKEN not in self.log:
                    raise
                self.ports = free_ports(self.host)

    def _start(self, environment: ServerEnvironment) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="torchport-serve-")
        try:
            backends = Path(self._folder.name) / "backends"
            backends.mkdir()
            try:
                environment.make_backends(backends)
            except OSError as error:
                raise ServeError("the server's backends cannot be put together", where=str(backends), found=str(error)) from error
            with (Path(self._folder.name) / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, Path(__file__).with_name("_launch.py"), str(os.getpid()), *self._command(environment, backends)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=_variables(environment),
                    start_new_session=True,  # Ctrl-C at a terminal reaches whoever started it, who stops it
                )
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _settle(self) -> None:
        """What a killed packaging left is finished first: all of its models are served, or none."""
        if (self.repository / UNFINISHED).exists():
            from torchport.packaging import finish_packaging

            self.settled = finish_packaging(self.repository)

    def _check_ports(self) -> None:
        """Somebody else's server would answer in its place."""
        for name, port in (("http", self.ports.http), ("grpc", self.ports.grpc), ("metrics", self.ports.metrics)):
            with socket.socket() as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    one.bind((self.host, port))
                except (OSError, OverflowError) as error:
                    raise OptionError(
                        "the server cannot listen there",
                        stage="serve",
                        where=f"{name} port",
                        found=f"{self.host}:{port}: {error}",
                        hint="another port, or end what listens on this one",
                    ) from error

    def _command(self, environment: ServerEnvironment, backends: Path) -> list[str]:
        listening = [
            word
            for name, port in (("http", self.ports.http), ("grpc", self.ports.grpc), ("metrics", self.ports.metrics))
            for word in (f"--{name}-address={self.host}", f"--{name}-port={port}")
        ]
        return [
            str(environment.server),
            f"--model-repository={self.repository.absolute()}",
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self._region}",
            f"--id={self._region}",
            "--exit-on-error=false",
            "--exit-timeout-secs=5",
            *listening,
            *self._options,
        ]

    def _wait(self) -> None:
        assert self._process is not None
        ends = time.monotonic() + self._timeout
        client = Client(self.client.url, timeout=_ANSWER)
        while client.identity() != self._region:  # on a port that was free a moment ago, somebody else may answer by now
            if self._process.poll() is not None:
                raise ServeError("the server ended before it answered", where=str(self.repository), found=self._complaint())
            if time.monotonic() > ends:
                raise ServeError("the server did not answer in time", where=str(self.repository), found=f"{self._timeout:.0f} seconds")
            time.sleep(_WAIT)

    def _complaint(self) -> str:
        """The last error in the log, or its end."""
        lines = self.log.strip().splitlines() or ["(nothing in its log)"]
        errors = [line for line in lines if line.lower().startswith(("e1", "e0", "error", "failed", "unexpected"))]
        return (errors or lines)[-1]

    def wait(self) -> None:
        """Waits until the server ends by itself.

        Raises:
            ServeError: It did.
        """
        assert self._process is not None
        code = self._process.wait()
        raise ServeError("the server ended by itself", found=f"exit code {code}: {self._complaint()}")

    def stop(self) -> None:
        """Stops it; may be called twice."""
        process, self._process = self._process, None
        if process is not None:
            try:
                process.send_signal(signal.SIGTERM)
                process.wait(self._grace)
            except subprocess.TimeoutExpired:
                pass
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)  # whatever is left of it: its own processes for the models
                process.wait()
                for left in Path("/dev/shm").glob(f"{self._region}*"):
                    left.unlink(missing_ok=True)
        folder, log = self._folder, self.log
        self._folder = None
        if folder is not None:
            self._last_log = log
            folder.cleanup()

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _variables(environment: ServerEnvironment) -> dict[str, str]:
    """The server's environment: its models run under the first ``python3`` on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    libraries = [str(path) for path in environment.library_path]
    if "LD_LIBRARY_PATH" in kept:
        libraries.append(kept["LD_LIBRARY_PATH"])
    return {
        **kept,
        "PATH": os.pathsep.join([str(environment.python.parent), kept.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
    }
