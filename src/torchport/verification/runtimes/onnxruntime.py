"""ONNX Runtime, in process, on the CPU: the runtime that proves ``.onnx`` files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from torchport.errors import RuntimeFailure
from torchport.ports import Signature
from torchport.ports.limits import limits_named_in
from torchport.verification._records import Array, sizes_text
from torchport.verification.runtimes._base import PortInFile, Runtime, Session, check_feeds, shortened
from torchport.verification.skeleton import refer_to_contents

__all__ = ["OnnxRuntime"]

_TORCH_NAMES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bfloat16)": "bfloat16",
    "tensor(int8)": "int8", "tensor(int16)": "int16", "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(bool)": "bool",
    "tensor(uint8)": "uint8", "tensor(uint16)": "uint16", "tensor(uint32)": "uint32", "tensor(uint64)": "uint64",
    "tensor(complex64)": "complex64", "tensor(complex128)": "complex128",
}  # fmt: skip

_KERNEL = re.compile(r"implementation for ([A-Za-z]\w*)")

_LARGE = 64 * 2**20
"""Above this size of file the runtime is told not to keep a second, repacked copy of each weight (1.4 times the weights instead of 1.0)."""


class OnnxRuntime(Runtime):
    """Opens ``.onnx`` files with ONNX Runtime's CPU provider, silently, with the graph optimisations that a user gets by default."""

    name: ClassVar[str] = "onnxruntime"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def open(self, paths: Sequence[Path], signature: Signature | None = None, *, timeout: float = 600.0) -> Session:
        """Opens the file; ONNX Runtime reads names and shapes from it, ``signature`` and ``timeout`` are not needed."""
        return _open(paths, None)

    def open_briefly(self, paths: Sequence[Path], signature: Signature | None = None, *, timeout: float = 600.0) -> Session:
        """Opens the file with its large weights mapped where they lie: loading them takes their size twice over for a moment."""
        try:
            model = refer_to_contents(Path(paths[0]).resolve())
        except ValueError:  # ONNX Runtime says what is wrong with the file in its own words
            model = None
        return _open(paths, model)


def _open(paths: Sequence[Path], model: bytes | None) -> Session:
    """A session of the file, or of a model that refers to it."""
    import onnxruntime as ort

    path = Path(paths[0])
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    if sum(one.stat().st_size for one in paths if one.exists()) > _LARGE:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if model is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.resolve().parent))
    try:
        session = ort.InferenceSession(str(path) if model is None else model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _refusal(error, path, ort.__version__) from error
    return _OnnxSession(session, path)


class _OnnxSession(Session):
    """An ``InferenceSession``."""

    def __init__(self, session: Any, path: Path) -> None:
        self._session = session
        self._path = path
        self.inputs = tuple(_port(value) for value in session.get_inputs())
        self.outputs = tuple(_port(value) for value in session.get_outputs())
        self._optional = tuple(value.name for value in session.get_overridable_initializers())

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Answers one set of inputs."""
        if self._session is None:
            raise RuntimeFailure("the session is closed", where=self._path.name)
        check_feeds(self.input_names, {name: array for name, array in inputs.items() if name not in self._optional}, "ONNX Runtime")
        options = _run_options()
        try:
            values = self._session.run(list(self.output_names), dict(inputs), options)
        except Exception as error:
            if refused := self._refused(str(error), inputs):
                raise refused from error
            raise RuntimeFailure(
                "ONNX Runtime failed while running",
                where=self._path.name,
                found=shortened(_without_noise(str(error))),
                expected="an answer",
            ) from error
        return dict(zip(self.output_names, values, strict=True))

    def _refused(self, error: str, inputs: Mapping[str, Array]) -> RuntimeFailure | None:
        """Sizes outside the limits that the file checks itself; ``None`` where that is not what failed."""
        sizes: dict[str, int] = {}
        for port in self.inputs:
            shape = np.shape(inputs[port.name]) if port.name in inputs else ()
            for dim, size in zip(port.dims or (), shape, strict=False):
                if isinstance(dim, str):
                    sizes.setdefault(dim, size)
        limits = limits_named_in(error, sizes)
        if not limits:
            return None
        return RuntimeFailure("the file refuses these sizes", where=self._path.name, found=sizes_text(sizes), expected="; ".join(limits))

    def close(self) -> None:
        """Lets go of the session and its weights."""
        self._session = None


def _run_options() -> Any:
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = 4
    return options


def _port(value: Any) -> PortInFile:
    dims = tuple(dim if isinstance(dim, (int, str)) else None for dim in value.shape)
    return PortInFile(value.name, _TORCH_NAMES.get(value.type), dims)


def _without_noise(text: str) -> str:
    """The message without ONNX Runtime's own source positions."""
    kept = [part for part in text.replace("[ONNXRuntimeError] : ", "").split(" : ") if not part.isdigit()]
    words = " : ".join(kept).split()
    return " ".join(word for word in words if not word.startswith("/onnxruntime_src/"))


def _refusal(error: Exception, path: Path, version: str) -> RuntimeFailure:
    """Says clearly what ONNX Runtime refuses; the most specific reason first."""
    text = _without_noise(str(error))
    if "Opset" in text and ("guarantee" in text or "under development" in text):
        message, hint = "this ONNX Runtime does not know the file's opset", "ask for a lower onnx_opset_version, or upgrade onnxruntime"
    elif "IR version" in text or "ir_version" in text:
        message, hint = "this ONNX Runtime does not know the file's IR version", "upgrade onnxruntime"
    elif "is not a registered function/op" in text or "No Op registered" in text or "No opset import for domain" in text:
        message, hint = (
            "the file uses an operator that this ONNX Runtime does not have",
            "another strategy may write it with standard operators",
        )
    elif "NOT_IMPLEMENTED" in text or "Could not find an implementation" in text:
        message, hint = _without_kernel(text, path)
    else:
        message, hint = "ONNX Runtime refuses the file", ""
    return RuntimeFailure(message, where=path.name, found=f"{shortened(text)} (onnxruntime {version})", hint=hint or None)


def _without_kernel(text: str, path: Path) -> tuple[str, str]:
    """The operator that has no kernel, the dtype that is the likely reason, and what to try."""
    import onnx

    operator = _KERNEL.search(text)
    name = operator[1] if operator else "an operator"
    graph = onnx.load(path, load_external_data=False).graph
    types = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} | {one.data_type for one in graph.initializer}
    rare = [dtype for dtype in ("bfloat16", "float16", "double") if onnx.TensorProto.DataType.Value(dtype.upper()) in types]
    if not rare:
        return f"ONNX Runtime has no CPU kernel for {name} at these types", "another dtype or strategy may avoid it"
    return (
        f"ONNX Runtime has no CPU kernel for {name} at {rare[0]}",
        f"{rare[0]} has few kernels there: export model.float(), or write a file that torch itself runs (.ts, .pt2)",
    )
