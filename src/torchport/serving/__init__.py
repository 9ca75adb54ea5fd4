"""Serving: a real Triton server on a model repository, and a client that asks it."""

from __future__ import annotations

from torchport.serving.client import Client, ModelClient, Served
from torchport.serving.environment import ServerEnvironment, find_server
from torchport.serving.goldens import Asked, GoldenCase, ask_goldens, compare_answers, golden_cases
from torchport.serving.grpc_client import GrpcClient, connect
from torchport.serving.server import Ports, TritonServer, free_ports

__all__ = [
    # the server
    "TritonServer",
    "Ports",
    "free_ports",
    # where it is
    "ServerEnvironment",
    "find_server",
    # asking it
    "connect",
    "ModelClient",
    "Client",
    "GrpcClient",
    "Served",
    # golden cases
    "GoldenCase",
    "Asked",
    "golden_cases",
    "ask_goldens",
    "compare_answers",
]
