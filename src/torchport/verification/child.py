"""What runs in the child process: loads an artifact, answers arrays with arrays. Run as a script; it imports nothing of torchport.

Frames on both pipes: eight bytes of header length, a JSON header, then the arrays' bytes. The header of a frame lists its arrays as
``[name, dtype, shape]``; an answer carries ``"error"`` when the artifact refused. A request with ``"load"`` opens another file in the place
of this one; one with ``"watch"`` asks for inner values instead of the outputs.
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
            if "watch" in header:
                _write(answers, *_watched(model, [inputs[name] for name in header["order"]], *header["watch"]))
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
        about: dict[str, Any] = {"arguments": arguments}
    else:
        program = torch.export.load(path, extra_files=extra)
        model = program.module()
        about = {"arguments": list(program.graph_signature.user_inputs)}
    metadata = extra[METADATA]
    about["metadata"] = metadata.decode() if isinstance(metadata, bytes) else metadata
    return model, about


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


def _watched(model: Any, inputs: list[Any], start: int, stop: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs the artifact and keeps what its operations read and gave, by number; the contents of those in ``[start, stop)`` only.

    What is kept before an operation fails is kept all the same; ``failed`` then names it.
    """
    import weakref

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    steps: list[list[Any]] = []
    known: dict[int, tuple[Any, int]] = {}
    contents: dict[str, Any] = {}
    count = 0
    failed: list[list[Any]] = []

    def number_of(tensor: Any) -> int | None:
        reference, number = known.get(id(tensor), (None, -1))
        return number if reference is not None and reference() is tensor else None

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own has no hints
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal count
            read = [number for tensor in _tensors((args, kwargs)) if (number := number_of(tensor)) is not None]
            name = str(func.name()).partition(".")[0]
            try:
                result = func(*args, **(kwargs or {}))
            except Exception:
                failed.append([name, read])
                raise
            made = []
            for tensor in _tensors(result):
                if start <= count < stop and tensor.layout is torch.strided:
                    contents[str(count)] = tensor.detach().clone()
                known[id(tensor)] = weakref.ref(tensor), count
                made.append(count)
                count += 1
            if made:
                steps.append([name, read, made])
            return result

    outputs: list[int | None] = []
    try:
        with Watch():  # type: ignore[no-untyped-call]  # the same
            answer = model(*inputs)
        outputs = [number_of(tensor) for tensor in _tensors(answer)]
    except Exception:  # noqa: BLE001 - what came before is what was asked for
        failed = failed[:1]
    else:
        failed = []
    return {"steps": steps, "count": count, "outputs": outputs, "failed": failed[0] if failed else None}, contents


def _tensors(value: Any) -> list[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [one for part in value.values() for one in _tensors(part)]
    if isinstance(value, (tuple, list)):
        return [one for part in value for one in _tensors(part)]
    return []


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
