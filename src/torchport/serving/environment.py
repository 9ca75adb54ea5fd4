"""Where the server is: a Python environment that holds the wheel ``nvidia-pytriton``, and what the server needs of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torchport.errors import MissingDependencyError, OptionError

__all__ = ["BACKENDS", "ServerEnvironment", "find_server"]

BACKENDS = ("onnxruntime", "pytorch")
"""The native backends that have a stand-in here."""

_EXTRA = "pip install 'torchport[triton]'"
_SECONDS = 60


@dataclass(frozen=True)
class ServerEnvironment:
    """A server and the Python that its models run in.

    Attributes:
        python: The interpreter of the environment.
        wheel: The folder of the wheel that holds the server.
        python_version: ``3.11``; the server has a stub for each.
        library_path: Folders with the shared libraries that it needs.
        versions: The versions of what is installed there.
    """

    python: Path
    wheel: Path
    python_version: str
    library_path: tuple[Path, ...]
    versions: Mapping[str, str | None]

    @property
    def server(self) -> Path:
        """The program."""
        return self.wheel / "tritonserver" / "bin" / "tritonserver"

    @property
    def backends(self) -> tuple[str, ...]:
        """The stand-ins that have their runtime there."""
        runtimes = {"onnxruntime": "onnxruntime", "pytorch": "torch"}
        return tuple(name for name in BACKENDS if self.versions.get(runtimes[name]))

    def make_backends(self, folder: Path) -> None:
        """Fills an empty folder with the backends that the server shall load: its Python backend, and the stand-ins."""
        shipped = self.wheel / "tritonserver"
        shutil.copytree(shipped / "backends", folder, dirs_exist_ok=True)
        stub = folder / "python" / "triton_python_backend_stub"
        shutil.copyfile(shipped / "python_backend_stubs" / self.python_version / stub.name, stub)
        stub.chmod(0o755)
        for name in self.backends:
            ours = folder / name / "torchport_backends"
            shutil.copytree(Path(__file__).with_name("backends"), ours, ignore=shutil.ignore_patterns("__pycache__"))
            (folder / name / "model.py").write_text(f"from torchport_backends.{name} import TritonPythonModel\n", encoding="utf-8")


def find_server(python: Path | None = None) -> ServerEnvironment:
    """Finds the server in a Python environment.

    Args:
        python: The environment's interpreter; ``None`` means the one that runs here.

    Raises:
        OptionError: There is no such interpreter.
        MissingDependencyError: The environment has no server, none for its version of Python, or a numpy that the server cannot work with.
    """
    chosen = Path(sys.executable) if python is None else Path(python).absolute()  # never resolved: a venv's python is a link
    try:
        ran = subprocess.run(
            [chosen, "-I", Path(__file__).with_name("_probe.py")], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        told = json.loads(ran.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise OptionError(
            "this is no Python that answers", stage="serve", where="python", found=str(chosen), expected="the interpreter of an environment"
        ) from error
    if told["wheel"] is None:
        raise MissingDependencyError(
            "Triton's server is needed to serve a repository, and it is not installed here",
            stage="serve",
            where=str(chosen),
            expected="the package nvidia-pytriton",
            hint=f"{_EXTRA}; it needs numpy below 2: an environment of its own, named by --python, leaves this one as it is",
        )
    found = ServerEnvironment(chosen, Path(told["wheel"]), told["python"], _libraries(told), told["versions"])
    _check(found)
    return found


def _libraries(told: Mapping[str, str]) -> tuple[Path, ...]:
    beside = Path(told["wheel"]).parent / "nvidia_pytriton.libs"
    return tuple(path for path in (beside, Path(told["libraries"] or "")) if path.is_dir() and path.is_absolute())


def _check(found: ServerEnvironment) -> None:
    stubs = found.wheel / "tritonserver" / "python_backend_stubs"
    if not found.server.is_file() or not (stubs / found.python_version).is_dir():
        raise MissingDependencyError(
            "the installed server does not fit this Python",
            stage="serve",
            where=str(found.wheel),
            found=f"Python {found.python_version}",
            hint=f"Linux on x86-64, Python 3.8 to 3.13, and {_EXTRA}",
        )
    numpy = found.versions["numpy"]
    if numpy is None or int(numpy.partition(".")[0]) > 1:
        raise MissingDependencyError(
            "with numpy 2 this server hands over wrong tensors without a word; it is not started",
            stage="serve",
            where=str(found.python),
            found=f"numpy {numpy}",
            expected="numpy below 2",
            hint=f"{_EXTRA} in an environment of its own, and --python PATH/bin/python",
        )
