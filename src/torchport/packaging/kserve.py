"""A KServe ``InferenceService`` for a Triton model repository: a cluster starts Triton on it and scales it.

Source: https://github.com/kserve/kserve/blob/master/pkg/openapi/swagger.json, ``v1beta1.InferenceService``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from torchport.errors import OptionError, PackageError
from torchport.repository import check_repository
from torchport.repository._text import Config, parse_config

__all__ = ["kserve_manifest", "kserve_text"]

_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|[kMGTPE]i?)?")
_SCHEMES = ("s3", "gs", "pvc", "https", "http", "hdfs", "webhdfs", "hf", "oci")
_GRPC = [{"name": "h2c", "containerPort": 9000, "protocol": "TCP"}]
"""The port of KServe's own Triton runtime; a name of HTTP/2 without encryption makes the cluster route gRPC to it."""


def kserve_manifest(
    repository: str | Path,
    storage_uri: str,
    *,
    name: str | None = None,
    namespace: str | None = None,
    protocol: Literal["v2", "grpc-v2"] = "v2",
    min_replicas: int = 1,
    max_replicas: int | None = None,
    concurrency: int | None = None,
    cpu: str | None = None,
    memory: str | None = None,
    gpus: int = 0,
    runtime_version: str | None = None,
) -> dict[str, Any]:
    """The manifest as plain values.

    Args:
        repository: The model repository, as it is here.
        storage_uri: Where the cluster finds a copy of it (``s3://models/repository``, ``pvc://claim/repository``).
        name: The service's name; ``None``: the repository's.
        namespace: The service's namespace.
        protocol: ``v2`` serves HTTP, ``grpc-v2`` gRPC.
        min_replicas: How many servers there are at least; 0 lets the cluster end the last one.
        max_replicas: How many at most.
        concurrency: Requests under way at one server, above which another one is started.
        cpu: What each server gets (``"2"``, ``"500m"``).
        memory: What each server gets (``"4Gi"``).
        gpus: How many GPUs each server gets.
        runtime_version: The tag of Triton's image (``"24.10-py3"``); ``None``: the cluster's own choice.

    Raises:
        OptionError: A value is none that the cluster takes.
        PackageError: A model of the repository cannot be served, or keeps state and shall be scaled.
    """
    folder = Path(repository)
    called = name if name is not None else _label(folder.absolute().name)
    _check(called, storage_uri, min_replicas, max_replicas, {"cpu": cpu, "memory": memory})
    report = check_repository(folder)
    if report.errors:
        first = report.errors[0]
        raise PackageError(
            "the server would refuse this repository", where=str(folder), found=str(first), hint=f"torchport check-repository {folder}"
        )
    if max_replicas is not None and max_replicas > 1 and (stateful := _stateful(folder)):
        raise PackageError(
            "a sequence's requests must reach the server that keeps its state, and a cluster spreads them",
            where=stateful,
            found=f"up to {max_replicas} replicas",
            expected="one replica, or a model whose clients carry the state",
        )
    wanted = {"cpu": cpu, "memory": memory, "nvidia.com/gpu": str(gpus) if gpus else None}
    amounts = {key: amount for key, amount in wanted.items() if amount is not None}
    model: dict[str, Any] = {
        "modelFormat": {"name": "triton"},
        "protocolVersion": protocol,
        "storageUri": storage_uri,
        **({"runtimeVersion": runtime_version} if runtime_version else {}),
        **({"ports": _GRPC} if protocol == "grpc-v2" else {}),
        **({"resources": {"requests": amounts, "limits": dict(amounts)}} if amounts else {}),
    }
    predictor: dict[str, Any] = {"minReplicas": min_replicas}
    if max_replicas is not None:
        predictor["maxReplicas"] = max_replicas
    if concurrency is not None:
        predictor.update(scaleMetric="concurrency", scaleTarget=concurrency)
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": called, **({"namespace": namespace} if namespace else {})},
        "spec": {"predictor": {**predictor, "model": model}},
    }


def kserve_text(manifest: Mapping[str, Any]) -> str:
    """The manifest as YAML, for ``kubectl apply -f``."""
    text: str = yaml.dump(dict(manifest), Dumper=_Plain, sort_keys=False)
    return text


class _Plain(yaml.SafeDumper):
    """Writes a value that stands twice twice: Kubernetes reads no anchors of YAML in every place."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _label(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _check(name: str, storage_uri: str, least: int, most: int | None, amounts: Mapping[str, str | None]) -> None:
    if not _LABEL.fullmatch(name):
        raise OptionError(
            "a service's name is a DNS label",
            stage="package",
            where="name",
            found=name,
            expected="lower-case letters, digits and -; at most 63",
        )
    uri = urlsplit(storage_uri)
    if uri.scheme not in _SCHEMES or not (uri.netloc or uri.path.strip("/")):
        raise OptionError(
            "the cluster fetches the repository from a storage that it knows",
            stage="package",
            where="storage_uri",
            found=storage_uri,
            expected=", ".join(f"{scheme}://…" for scheme in _SCHEMES),
        )
    if least < 0 or (most is not None and most < max(least, 1)):
        raise OptionError(
            "there are more replicas at least than at most", stage="package", where="max_replicas", found=f"{least} to {most}"
        )
    for where, amount in amounts.items():
        if amount is not None and not _QUANTITY.fullmatch(amount):
            raise OptionError(f"{where} is a quantity", stage="package", where=where, found=amount, expected="2, 500m, 4Gi, …")


def _stateful(repository: Path) -> str | None:
    """A model whose sequences have to stay at one server."""
    for path in sorted(repository.glob("*/config.pbtxt")):
        read = parse_config(path.read_bytes())
        if isinstance(read, Config) and read.message.HasField("sequence_batching"):
            return path.parent.name
    return None
