"""A small client of the server's HTTP protocol, with the standard library alone: arrays in, arrays out, every byte as it is.

Source: https://github.com/kserve/kserve/blob/master/docs/predict-api/v2/required_api.md and Triton's binary tensor extension,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import abc
import json
import numbers
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np

from torchport.errors import OptionError, ServeError
from torchport.ports.dtypes import DType, known_dtype

__all__ = [
    "HEADER",
    "SECONDS",
    "Client",
    "ModelClient",
    "Served",
    "array_of",
    "content_of",
    "plain_parameters",
    "read_answer",
    "request_body",
]

HEADER = "Inference-Header-Content-Length"
SECONDS = 300.0
"""How long an answer may take."""

# A proxy is for the world outside; whoever names a server means that server.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Served:
    """A model, or a version of one, as the server's index lists it.

    Attributes:
        name: The model.
        version: Empty where the server did not come so far.
        state: ``READY``, ``UNAVAILABLE``, …
        reason: Why it is not ready.
    """

    name: str
    version: str
    state: str
    reason: str

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self.state == "READY"


class ModelClient(abc.ABC):
    """Asks the models of one server, whatever it is reached by; a context manager, which ends the connection.

    Attributes:
        url: Where it is.
    """

    url: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the connection."""

    @abc.abstractmethod
    def models(self) -> list[Served]:
        """Every model that the server knows, ready or not."""

    @abc.abstractmethod
    def config(self, model: str) -> dict[str, Any]:
        """The configuration that a model is served with.

        Raises:
            ServeError: It is not served.
        """

    @abc.abstractmethod
    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str = "",
        outputs: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Asks a model.

        Args:
            model: Its name.
            inputs: Arrays by input name.
            version: Which one; empty: the server chooses.
            outputs: Which outputs; empty: all.
            parameters: Parameters of the request: ``sequence_id``, ``sequence_start``, …

        Returns:
            Arrays by output name.

        Raises:
            ServeError: There is no answer, or the server refused; its own words are in the message.
        """

    @final
    def ask(
        self, model: str, inputs: Mapping[str, Any], *, version: str = "", parameters: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Asks a model with arrays as the model itself takes them, and gives them as it gives them.

        Where the server counts the batch, one number for each row has an axis of size 1 on the wire: it is put on and taken off here.

        Raises:
            ServeError: As for `infer`.
        """
        config = self.config(model)
        single = {port["name"] for kind in ("input", "output") for port in config.get(kind) or () if _one_a_row(port, config)}
        sent = {name: np.asarray(array) for name, array in inputs.items()}
        sent = {name: array[:, None] if name in single and array.ndim == 1 else array for name, array in sent.items()}
        answer = self.infer(model, sent, version=version, parameters=parameters)
        return {name: array[:, 0] if name in single and array.ndim == 2 else array for name, array in answer.items()}


@final
class Client(ModelClient):
    """Talks to one server by HTTP.

    Args:
        url: ``http://127.0.0.1:8000``.
        timeout: Seconds that an answer may take.
    """

    def __init__(self, url: str, *, timeout: float = SECONDS) -> None:
        parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise OptionError("a server has an address", stage="request", where="url", found=url, expected="http://127.0.0.1:8000")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._timeout = timeout

    def close(self) -> None:
        """Nothing to end: every request has a connection of its own."""

    def is_live(self) -> bool:
        """Whether a server answers there."""
        try:
            self._call("/v2/health/live")
        except ServeError:
            return False
        return True

    def identity(self) -> str:
        """What the server calls itself: what it was started with as ``--id``; empty where nothing answers that is one."""
        try:
            return str(json.loads(self._call("/v2")[0])["name"])
        except (ServeError, ValueError, KeyError, TypeError):
            return ""

    def models(self) -> list[Served]:
        """Every model that the server knows, ready or not."""
        listed = json.loads(self._call("/v2/repository/index", b"{}")[0])
        return [Served(one["name"], one.get("version", ""), one.get("state", "UNAVAILABLE"), one.get("reason", "")) for one in listed]

    def config(self, model: str) -> dict[str, Any]:
        """The configuration that a model is served with; see `ModelClient.config`."""
        config: dict[str, Any] = json.loads(self._call(f"/v2/models/{urllib.parse.quote(model)}/config")[0])
        return config

    def statistics(self, model: str) -> dict[str, Any]:
        """What the server counted for a model: requests, and how often it was run.

        Raises:
            ServeError: It is not served.
        """
        counted: dict[str, Any] = json.loads(self._call(f"/v2/models/{urllib.parse.quote(model)}/stats")[0])["model_stats"][0]
        return counted

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str = "",
        outputs: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Asks a model; see `ModelClient.infer`."""
        words, blobs = request_body(inputs, parameters or {}, binary=True, outputs=outputs)
        place = f"/v2/models/{urllib.parse.quote(model)}" + (f"/versions/{version}" if version else "") + "/infer"
        body, length = self._call(place, words + blobs, {HEADER: str(len(words)), "Content-Type": "application/octet-stream"})
        return read_answer(body, length)

    def _call(self, place: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[bytes, int | None]:
        request = urllib.request.Request(f"{self.url}{place}", data=body, headers=dict(headers or {}))
        try:
            with _OPENER.open(request, timeout=self._timeout) as answer:
                length = answer.headers.get(HEADER)
                return answer.read(), None if length is None else int(length)
        except urllib.error.HTTPError as error:
            raise ServeError("the server refused", stage="request", where=place, found=_said(error)) from error
        except (OSError, ValueError) as error:
            raise ServeError("there is no answer", stage="request", where=f"{self.url}{place}", found=str(error)) from error


def _one_a_row(port: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether clients see an axis of size 1 that the model does not: a reshape to no dims."""
    if not int(config.get("max_batch_size") or 0):
        return False
    reshape = port.get("reshape")
    return reshape is not None and not reshape.get("shape")


def request_body(
    inputs: Mapping[str, Any], parameters: Mapping[str, Any], *, binary: bool = False, outputs: Sequence[str] = ()
) -> tuple[bytes, bytes]:
    """The words of a request and the bytes of its arrays, which follow them; `HEADER` says how long the words are.

    Args:
        inputs: Arrays by input name.
        parameters: Parameters of the request.
        binary: Whether the answer's arrays come as bytes, too, or as JSON.
        outputs: Which outputs; empty: all.

    Raises:
        OptionError: The protocol has no such dtype, or no such parameter.
    """
    blobs, described = [], []
    for name, value in inputs.items():
        array = np.asarray(value)
        kind, content = content_of(name, array)
        described.append({"name": name, "shape": list(array.shape), "datatype": kind, "parameters": {"binary_data_size": len(content)}})
        blobs.append(content)
    header: dict[str, Any] = {"inputs": described, "parameters": plain_parameters(parameters)}
    if outputs:
        header["outputs"] = [{"name": name, "parameters": {"binary_data": binary}} for name in outputs]
    else:
        header["parameters"]["binary_data_output"] = binary
    return json.dumps(header).encode(), b"".join(blobs)


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Parameters of a request as the protocol has them: NumPy's numbers are numbers, too.

    Raises:
        OptionError: One is anything else.
    """
    plain: dict[str, bool | int | float | str] = {}
    for name, value in parameters.items():
        if isinstance(value, bool | np.bool_):
            plain[name] = bool(value)
        elif isinstance(value, numbers.Integral):
            plain[name] = int(value)
        elif isinstance(value, numbers.Real):
            plain[name] = float(value)
        elif isinstance(value, str):
            plain[name] = str(value)
        else:
            raise OptionError(
                "the protocol has no such parameter",
                stage="request",
                where=name,
                found=type(value).__name__,
                expected="a truth value, a number or a text",
            )
    return plain


def _said(error: urllib.error.HTTPError) -> str:
    with error:
        text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.strip() or f"HTTP status {error.code}"


def content_of(name: str, array: Any) -> tuple[str, bytes]:
    """The datatype of an array as the protocol spells it, and its bytes on the wire.

    Raises:
        OptionError: The protocol has no such dtype.
    """
    kind = known_dtype("string" if array.dtype.kind in "SU" else array.dtype.name)
    if kind is None or kind.triton is None:
        raise OptionError("the protocol has no such dtype", stage="request", where=name, found=str(array.dtype))
    if array.dtype.kind not in "OSU":
        return kind.triton, np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    texts = [one if isinstance(one, bytes) else str(one).encode() for one in array.ravel()]
    return kind.triton, b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def array_of(name: str, datatype: str, shape: Sequence[int], blob: bytes) -> Any:
    """The array that bytes on the wire are.

    Raises:
        ServeError: It has an unknown dtype, or other bytes than its shape asks for.
    """
    kind = _dtype_of(name, datatype)
    try:
        array = _texts(blob) if kind.kind == "string" else np.frombuffer(blob, _numpy_dtype(kind.numpy))
    except ValueError as error:
        raise _other_bytes(name, f"{len(blob)} bytes of {datatype}", shape) from error
    return _shaped(name, array, shape)


def _shaped(name: str, array: Any, shape: Sequence[int]) -> Any:
    if min(shape, default=0) < 0 or array.size != int(np.prod(shape)):
        raise _other_bytes(name, f"{array.size} values", shape)
    return array.reshape(shape)


def _other_bytes(name: str, found: str, shape: Sequence[int]) -> ServeError:
    return ServeError(
        "the server's answer has other bytes than its shape asks for",
        stage="request",
        where=name,
        found=found,
        expected=str(list(shape)),
    )


def _dtype_of(name: str, datatype: str) -> DType:
    kind = known_dtype(datatype)
    if kind is None:
        raise ServeError("the server answers with an unknown dtype", stage="request", where=name, found=datatype)
    return kind


def read_answer(body: bytes, length: int | None) -> dict[str, Any]:
    """The arrays of an answer, by output name; ``length`` is what `HEADER` says of its words, if it says anything.

    Raises:
        ServeError: It has no words, or an array has an unknown dtype, or other bytes than its shape asks for.
    """
    try:
        header = json.loads(body[:length])
    except ValueError as error:
        raise ServeError("the server's answer cannot be read", stage="request", found=str(error), expected="JSON") from error
    place = length or 0
    answers = {}
    for output in header["outputs"]:
        name, shape = output["name"], output["shape"]
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            answers[name] = _shaped(name, np.array(output["data"], _dtype_of(name, output["datatype"]).numpy), shape)
            continue
        answers[name] = array_of(name, output["datatype"], shape, body[place : place + size])
        place += size
    return answers


def _numpy_dtype(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name).newbyteorder("<")


def _texts(blob: bytes) -> Any:
    found, place = [], 0
    while place < len(blob):
        size = int.from_bytes(blob[place : place + 4], "little")
        found.append(blob[place + 4 : place + 4 + size])
        place += 4 + size
    if place != len(blob):
        raise ValueError("the last text is cut off")
    return np.array(found, object)
