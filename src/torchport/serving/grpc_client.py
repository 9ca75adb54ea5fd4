"""The same client over gRPC, with the messages of ``tritonclient`` and the bytes of the HTTP one.

Source: https://github.com/kserve/kserve/blob/master/docs/predict-api/v2/grpc_predict_v2.proto
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from torchport._optional import require
from torchport.errors import OptionError, ServeError
from torchport.serving.client import SECONDS, Client, ModelClient, Served, array_of, content_of, plain_parameters

__all__ = ["GrpcClient", "arrays_in", "connect"]

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # a proxy is for the world outside; whoever names a server means that server
)
_PARAMETERS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
_SILENT = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")


def connect(url: str, *, timeout: float = SECONDS) -> ModelClient:
    """A client for an address: ``http://127.0.0.1:8000`` or ``grpc://127.0.0.1:8001``.

    Args:
        url: Where the server is; ``https`` and ``grpcs`` are encrypted, none means ``http``.
        timeout: Seconds that an answer may take.

    Raises:
        OptionError: It is no address.
        MissingDependencyError: gRPC needs an extra that is not there.
    """
    scheme = urllib.parse.urlsplit(url).scheme
    return GrpcClient(url, timeout=timeout) if scheme in ("grpc", "grpcs") else Client(url, timeout=timeout)


@final
class GrpcClient(ModelClient):
    """Talks to one server by gRPC.

    Args:
        url: ``grpc://127.0.0.1:8001``; ``grpcs`` is encrypted.
        timeout: Seconds that an answer may take.

    Raises:
        OptionError: It is no address.
        MissingDependencyError: ``tritonclient`` is not there.
    """

    def __init__(self, url: str, *, timeout: float = SECONDS) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("grpc", "grpcs") or not parts.netloc or parts.path.strip("/"):
            raise OptionError("a server has an address", stage="request", where="url", found=url, expected="grpc://127.0.0.1:8001")
        needed = {"extra": "grpc", "purpose": "ask a server by gRPC"}
        self._grpc = require("grpc", **needed)
        self._messages = require("tritonclient.grpc.service_pb2", **needed)
        self._json = require("google.protobuf.json_format", **needed)
        services = require("tritonclient.grpc.service_pb2_grpc", **needed)
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._timeout = timeout
        self._channel = (
            self._grpc.insecure_channel(parts.netloc, _OPTIONS)
            if parts.scheme == "grpc"
            else self._grpc.secure_channel(parts.netloc, self._grpc.ssl_channel_credentials(), _OPTIONS)
        )
        self._stub = services.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def models(self) -> list[Served]:
        """Every model that the server knows, ready or not."""
        found = self._call("RepositoryIndex", self._messages.RepositoryIndexRequest())
        return [Served(one.name, one.version, one.state or "UNAVAILABLE", one.reason) for one in found.models]

    def config(self, model: str) -> dict[str, Any]:
        """The configuration that a model is served with; see `ModelClient.config`."""
        found = self._call("ModelConfig", self._messages.ModelConfigRequest(name=model), where=model)
        config: dict[str, Any] = json.loads(self._json.MessageToJson(found.config, preserving_proto_field_name=True))
        return config

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
        request = self._messages.ModelInferRequest(model_name=model, model_version=version)
        for name, value in inputs.items():
            array = np.asarray(value)
            datatype, content = content_of(name, array)
            request.inputs.add(name=name, datatype=datatype, shape=array.shape)
            request.raw_input_contents.append(content)
        for name in outputs:
            request.outputs.add(name=name)
        for name, value in plain_parameters(parameters or {}).items():
            setattr(request.parameters[name], _PARAMETERS[type(value)], value)
        return arrays_in(self._call("ModelInfer", request, where=model))

    def _call(self, name: str, request: Any, *, where: str = "") -> Any:
        place = f"{self.url}: {name}" + (f" of {where}" if where else "")
        try:
            return getattr(self._stub, name)(request, timeout=self._timeout)
        except self._grpc.RpcError as error:
            message = "there is no answer" if error.code().name in _SILENT else "the server refused"
            raise ServeError(message, stage="request", where=place, found=error.details()) from error


def arrays_in(answer: Any) -> dict[str, Any]:
    """The arrays of an answer, by output name.

    Raises:
        ServeError: They are not there as bytes, or an array has an unknown dtype, or other bytes than its shape asks for.
    """
    outputs, blobs = answer.outputs, answer.raw_output_contents
    if len(outputs) != len(blobs):  # a server may send typed numbers instead; Triton does not
        raise ServeError(
            "the server does not answer with the bytes of every output",
            stage="request",
            where=", ".join(one.name for one in outputs),
            found=f"{len(blobs)} of {len(outputs)}",
        )
    return {one.name: array_of(one.name, one.datatype, list(one.shape), blob) for one, blob in zip(outputs, blobs, strict=True)}
