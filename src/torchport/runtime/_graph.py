"""An ONNX file in ONNX Runtime, with the metadata that it carries: ports go by the part that they play."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from torchport.errors import MetadataError, MissingDependencyError, PortValueError, RuntimeFailure, UnusablePathError
from torchport.metadata import stated_metadata
from torchport.ports.limits import limits_named_in

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["OnnxGraph"]

_NUMPY = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
    "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(bool)": "bool",
}  # fmt: skip


class OnnxGraph:
    """A graph that knows what its ports are for.

    Args:
        path: The ``.onnx`` file.
        threads: Threads of one operation; ``None``: as many as ONNX Runtime likes.

    Attributes:
        path: The file.
        metadata: What it says of its own use.
        inputs: The dtype of each input, by name.
        outputs: The names of the outputs.

    Raises:
        UnusablePathError: There is no such file.
        RuntimeFailure: ONNX Runtime refuses it.
        MetadataError: It says nothing of its use, or something broken.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UnusablePathError("there is no such artifact", stage="load", where=str(path))
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = runtime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RuntimeFailure("ONNX Runtime refuses the file", stage="load", where=self.path.name, found=str(error)[:300]) from error
        stated = stated_metadata(self._session.get_modelmeta().custom_metadata_map, where=self.path.name)
        if stated is None:
            raise MetadataError(
                "the file does not say what its numbers mean",
                stage="load",
                where=self.path.name,
                hint="export it again; a model of your own says it by the hook export_metadata",
            )
        self.metadata: dict[str, Any] = stated
        self.inputs: dict[str, str] = {one.name: _NUMPY.get(one.type, "") for one in self._session.get_inputs()}
        self.outputs: tuple[str, ...] = tuple(one.name for one in self._session.get_outputs())

    def port(self, role: str) -> str:
        """The port that plays a part.

        Raises:
            MetadataError: The file names none, or one that it does not have.
        """
        name = self.optional_port(role)
        if name is None:
            raise MetadataError("the file does not say which port this is", stage="load", where=f"{self.path.name}: ports.{role}")
        return name

    def optional_port(self, role: str) -> str | None:
        """The port that plays a part; ``None`` where the file names none."""
        name: str | None = self.metadata.get("ports", {}).get(role)
        if name is not None and name not in self.inputs and name not in self.outputs:
            raise MetadataError(
                "the file names a port that it does not have", stage="load", where=f"{self.path.name}: ports.{role}", found=name
            )
        return name

    def fact(self, *path: str) -> Any:
        """A value of the metadata that cannot be done without.

        Raises:
            MetadataError: The file does not say it.
        """
        value: Any = self.metadata
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None:
            raise MetadataError("the file does not say what decoding needs", stage="load", where=f"{self.path.name}: {'.'.join(path)}")
        return value

    def first_states(self, batch: int) -> dict[str, npt.NDArray[Any]]:
        """What the states hold before the first call, by input.

        Args:
            batch: The number of utterances.
        """
        return {
            state["input"]: np.full(
                [batch if isinstance(size, str) else size for size in state["shape"]], state["fill"], np.dtype(state["dtype"])
            )
            for state in self.metadata.get("states", ())
        }

    def next_states(self, answer: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """The states of an answer, under the inputs that take them."""
        return {state["input"]: answer[state["output"]] for state in self.metadata.get("states", ())}

    def batch_axes(self) -> dict[str, int]:
        """The axis of each state that counts utterances, by input.

        Raises:
            MetadataError: A state has none, or more than one.
        """
        axes = {}
        for state in self.metadata.get("states", ()):
            found = [axis for axis, size in enumerate(state["shape"]) if isinstance(size, str)]
            if len(found) != 1:
                raise MetadataError("a state has one axis of utterances", stage="load", where=f"{self.path.name}: {state['input']}")
            axes[state["input"]] = found[0]
        return axes

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Runs the graph; inputs that it does not take are left out, numbers are cast to what it takes.

        Args:
            inputs: Arrays by input name.

        Raises:
            PortValueError: An input is missing.
            RuntimeFailure: ONNX Runtime fails.
        """
        missing = [name for name in self.inputs if name not in inputs]
        if missing:
            raise PortValueError(
                "an input is missing", stage="load", where=f"{self.path.name}: {missing[0]}", expected=", ".join(self.inputs)
            )
        arrays = {name: np.asarray(inputs[name], dtype=dtype or None) for name, dtype in self.inputs.items()}
        try:
            answer = self._session.run(list(self.outputs), arrays)
        except Exception as error:
            axes = {axis for one in self._session.get_inputs() for axis in one.shape if isinstance(axis, str)}
            if limits := limits_named_in(str(error), axes):
                shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
                raise RuntimeFailure(
                    "the file refuses these sizes",
                    stage="load",
                    where=self.path.name,
                    found=shapes,
                    expected="; ".join(limits),
                ) from error
            raise RuntimeFailure("ONNX Runtime failed while running", stage="load", where=self.path.name, found=str(error)[:300]) from error
        return dict(zip(self.outputs, answer, strict=True))


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "'onnxruntime' is needed to run an artifact", found=str(error), hint="pip install onnxruntime"
        ) from error
    found: ModuleType = onnxruntime
    return found
