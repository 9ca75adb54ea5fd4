"""``torchport serve``: a real Triton server on a model repository, as long as the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from torchport.cli._common import output_of
from torchport.cli._output import Output, Verbatim, table
from torchport.errors import ServeError

if TYPE_CHECKING:
    from torchport.serving import ServerEnvironment, TritonServer

__all__ = ["serve"]

_PYTHON = "the wheel's own"
_STAND_IN = "torchport's, in Python, instead of the native one"


def serve(
    context: typer.Context,
    repository: Annotated[Path, typer.Argument(metavar="DIR", help="The model repository.")],
    python: Annotated[
        Path | None, typer.Option(metavar="PYTHON", help="The Python of the environment that holds the server, if not this one.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen; only this machine, unless told otherwise.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(min=1, max=65535, help="For HTTP.")] = 8000,
    grpc_port: Annotated[int, typer.Option(min=1, max=65535, help="For gRPC.")] = 8001,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535, help="For metrics.")] = 8002,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse configurations that are not complete.")] = False,
) -> None:
    """Serve a model repository with Triton's own server until Ctrl-C."""
    from torchport.serving import Ports, TritonServer, find_server

    shown = output_of(context)
    environment = find_server(python)
    options = ["--disable-auto-complete-config"] if strict else []
    server = TritonServer(repository, environment=environment, host=host, ports=Ports(http_port, grpc_port, metrics_port), options=options)
    try:
        with shown.progress(f"Starting the server on {repository}"):
            server.start()
        _tell(shown, server, environment)
        server.wait()
    except KeyboardInterrupt:
        if server.pid is None:
            raise  # it did not come so far
    finally:
        server.stop()
    if not shown.as_json:
        shown.result(None, "stopped")


def _tell(shown: Output, server: TritonServer, environment: ServerEnvironment) -> None:
    from torchport.serving.examples import curl_call, python_call

    client = server.client
    models = client.models()
    ready = [one for one in models if one.ready]
    if not ready:
        first = models[0] if models else None
        raise ServeError(
            "no model is ready",
            where=str(server.repository),
            found="no models" if first is None else f"{first.name}: {first.reason}",
            hint="torchport check-repository says what is wrong",
        )
    rows, documents, asked = [], list[dict[str, Any]](), ready[0].name
    for one in models:
        config = client.config(one.name) if one.ready else {}
        backend = _backend(config) if one.ready else ""
        if config.get("platform") == "ensemble":
            asked = one.name  # what its clients are meant to ask
        rows.append((one.name, one.version, one.state.lower(), backend or one.reason))
        documents.append({"name": one.name, "version": one.version, "state": one.state, "reason": one.reason, "backend": backend})
    versions = environment.versions
    where = f"HTTP {client.url}, gRPC {server.grpc_address}"
    shown.result(
        {"url": client.url, "grpc": server.grpc_address, "models": documents, "versions": dict(versions), "settled": server.settled},
        f"[bold green]serving[/] {escape(str(server.repository))} with Triton from nvidia-pytriton {versions.get('nvidia-pytriton')}",
        where,
        *([escape(server.settled)] if server.settled else []),
        table("Models", ("model", "version", "state", "backend"), rows),
        "[bold]from a shell[/]",
        Verbatim(curl_call(client, asked, server.repository, server.folder)),
        "[bold]from Python[/]",
        Verbatim(python_call(client, asked, server.repository)),
        f"golden cases of all models: torchport request {escape(str(server.repository))} --url {client.url} (or grpc://{server.grpc_address})",
        "Ctrl-C stops it",
    )


def _backend(config: dict[str, Any]) -> str:
    if config.get("platform") == "ensemble":
        return "an ensemble of other models"
    name = str(config.get("backend", ""))
    return f"{name}: {_PYTHON if name == 'python' else _STAND_IN}"
