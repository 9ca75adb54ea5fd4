"""``torchport kserve``: the manifest that lets a cluster serve a model repository."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from torchport.cli._common import output_of
from torchport.cli._output import Verbatim
from torchport.errors import UnusablePathError

__all__ = ["kserve"]


class _Protocol(StrEnum):
    v2 = "v2"
    grpc = "grpc-v2"


def kserve(
    context: typer.Context,
    repository: Annotated[Path, typer.Argument(metavar="DIR", help="The model repository, as it is here.")],
    storage_uri: Annotated[str, typer.Option(metavar="URI", help="Where the cluster finds a copy: s3://models/repository.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there; else it is shown.")] = None,
    name: Annotated[str | None, typer.Option(help="The service's name; the folder's, if not given.")] = None,
    namespace: Annotated[str | None, typer.Option(help="The service's namespace.")] = None,
    protocol: Annotated[_Protocol, typer.Option(help="HTTP or gRPC.")] = _Protocol.v2,
    min_replicas: Annotated[int, typer.Option(help="Servers at least; 0 lets the cluster end the last one.")] = 1,
    max_replicas: Annotated[int | None, typer.Option(help="Servers at most.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests under way at a server, above which another is started.")] = None,
    cpu: Annotated[str | None, typer.Option(metavar="AMOUNT", help="For each server: 2, 500m.")] = None,
    memory: Annotated[str | None, typer.Option(metavar="AMOUNT", help="For each server: 4Gi.")] = None,
    gpus: Annotated[int, typer.Option(min=0, help="For each server.")] = 0,
    runtime_version: Annotated[str | None, typer.Option(metavar="TAG", help="The tag of Triton's image: 24.10-py3.")] = None,
) -> None:
    """Write a KServe InferenceService for a Triton model repository."""
    from torchport.packaging.kserve import kserve_manifest, kserve_text

    manifest = kserve_manifest(
        repository,
        storage_uri,
        name=name,
        namespace=namespace,
        protocol=protocol.value,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        concurrency=concurrency,
        cpu=cpu,
        memory=memory,
        gpus=gpus,
        runtime_version=runtime_version,
    )
    text = kserve_text(manifest)
    if output is None:
        output_of(context).result(manifest, Verbatim(text.rstrip("\n")))
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UnusablePathError("the manifest cannot be written", stage="package", where=str(output), found=error.strerror) from error
    output_of(context).result(manifest, f"wrote {output}; kubectl apply -f {output}")
