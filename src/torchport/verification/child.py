"""What runs in the child process: loads an artifact, answers arrays with arrays. Run as a script; it imports nothing of torchport.

Frames on both pipes: eight bytes of header length, a JSON header, then the arrays' bytes. The header of a frame lists its arrays as
``[name, dtype, shape]``; an answer carries ``"error"`` when the artifact refused.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO

METADATA = "torchport.json"


def main(kind: str, path: str, threads: str, source_end: str, answers_end: str) -> None:
    """Loads ``path``, says what it is, then answers until its input ends; a frame that names another path replaces the artifact.

    The two pipes have descriptors of their own: whatever anything prints on import or while running, it is not taken for an answer.
    """
    source, answers = os.fdopen(int(source_end), "rb"), os.fdopen(int(answers_end), "wb")
    parent = os.getppid()
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    try:
        model, about = _load(kind, path, int(threads))
    except BaseException as error:
        _write(answers, {"error": _text(error)}, {})
        raise SystemExit(1) from error
    _write(answers, about, {})
    while True:
        frame = _read(source)
        if frame is None:
            return
        header, inputs = frame
        try:
            if "load" in header:
                model = None
                model, about = _load(kind, header["load"], int(threads))
                _write(answers, about, {})
                continue
            outputs = _answer(model, [inputs[name] for name in header["order"]])
        except Exception as error:  # noqa: BLE001 - whatever the artifact raises goes back to the parent
            _write(answers, {"error": _text(error)}, {})
            continue
        _write(answers, {}, outputs)


def _follow(parent: int) -> None:
    """Ends this process when its parent has died."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _load(kind: str, path: str, threads: int) -> tuple[Any, dict[str, Any]]:
    import warnings

    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    extra: dict[str, Any] = {METADATA: ""}
    if kind == "torchscript":
        model = torch.jit.load(path, map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]
        arguments = [argument.name for argument in model.forward.schema.arguments][1:]
        about = {"arguments": arguments, "graph": _graph(model)}
    else:
        program = torch.export.load(path, extra_files=extra)
        model = program.module()
        about = {"arguments": list(program.graph_signature.user_inputs), "graph": ""}
    metadata = extra[METADATA]
    about["metadata"] = metadata.decode() if isinstance(metadata, bytes) else metadata
    return model, about


def _graph(model: Any) -> str:
    """The graph's text, for the search for a cause; it is no part of the answer, so it may be missing."""
    try:
        text = str(model.inlined_graph)
    except Exception:  # noqa: BLE001
        return ""
    return text if len(text) < 4_000_000 else ""


def _answer(model: Any, inputs: list[Any]) -> dict[str, Any]:
    import torch

    outputs: dict[str, Any] = {}

    def collect(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            outputs[str(len(outputs))] = value
        elif isinstance(value, dict):
            for part in value.values():
                collect(part)
        elif isinstance(value, (tuple, list)):
            for part in value:
                collect(part)
        elif value is not None:
            outputs[str(len(outputs))] = torch.as_tensor(value)

    collect(model(*inputs))
    return outputs


def _text(error: BaseException) -> str:
    """The error's own words, without the interpreter's traceback of the serialized code."""
    return "".join(traceback.format_exception_only(type(error), error)).strip()[-4000:]


def _read(source: BinaryIO) -> tuple[dict[str, Any], dict[str, Any]] | None:
    import torch

    prefix = source.read(8)
    if len(prefix) < 8:
        return None
    header = json.loads(source.read(struct.unpack("<Q", prefix)[0]))
    arrays: dict[str, Any] = {}
    for name, dtype, shape in header["arrays"]:
        kind = getattr(torch, dtype)
        count = 1
        for size in shape:
            count *= size
        data = bytearray(source.read(count * kind.itemsize))
        arrays[name] = torch.frombuffer(data, dtype=kind).reshape(shape) if count else torch.empty(shape, dtype=kind)
    return header, arrays


def _write(answers: BinaryIO, header: dict[str, Any], tensors: dict[str, Any]) -> None:
    arrays, chunks = [], []
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        arrays.append([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)])
        chunks.append(_bytes(tensor))
    head = json.dumps({**header, "arrays": arrays}).encode()
    answers.write(struct.pack("<Q", len(head)) + head)
    for chunk in chunks:
        answers.write(chunk)
    answers.flush()


def _bytes(tensor: Any) -> bytes:
    import torch

    if tensor.numel() == 0:
        return b""
    flat: bytes = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    return flat


if __name__ == "__main__":
    main(*sys.argv[1:6])
