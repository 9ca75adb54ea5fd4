"""Prepared records without the pipeline: tiny models with their ports, for the tests of capture and emit."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from torchport._options import ExportOptions
from torchport.ports import Signature
from torchport.prepare._records import Prepared


def prepare(
    module: torch.nn.Module,
    example: Mapping[str, torch.Tensor],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    forward: Callable[..., Any] | None = None,
) -> Prepared:
    """What the pipeline does before it captures; the module's instance keeps the flat forward."""
    native = forward or module.forward

    def flat(*tensors: torch.Tensor) -> Any:
        answer = native(*tensors)
        return answer[0] if isinstance(answer, tuple) and len(answer) == 1 else answer

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    flat.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in example])  # type: ignore[attr-defined]
    with torch.no_grad():
        answers = flat(*example.values())
        answers = answers if isinstance(answers, tuple) else (answers,)
    signature = Signature.of(inputs=inputs, outputs=outputs)
    signature = signature.resolved(inputs=dict(example), outputs=dict(zip(outputs, answers, strict=True)))
    module.forward = flat
    return Prepared(module=module, signature=signature, example=dict(example), native_forward=native)


def options(output: str = "m.onnx", **further: Any) -> ExportOptions:
    return ExportOptions(output=Path(output), **further)


class Tiny(torch.nn.Module):
    """A linear layer and an operation that depends on a size."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = torch.nn.Linear(4, 6)
        self.register_buffer("offset", torch.arange(6.0), persistent=False)

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.proj(x) * scale[:, None, None] + self.offset
        return y + torch.arange(x.shape[1], device=x.device)[None, :, None], y.sum(1)


def tiny(seed: int = 0) -> Prepared:
    torch.manual_seed(seed)
    return prepare(
        Tiny().eval(),
        {"x": torch.randn(2, 7, 4), "scale": torch.rand(2)},
        {"x": "batch time 4", "scale": "batch"},
        {"y": "batch time 6", "total": "batch 6"},
    )


def tiny_feed(batch: int, time: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 100 + time)
    return {"x": torch.randn(batch, time, 4, generator=generator), "scale": torch.rand(batch, generator=generator)}


class Branches(torch.nn.Module):
    """Every way to turn a tensor into a Python number."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.what == "value" and x.sum() > 0:
            return x + 1
        if self.what == "size" and x.shape[1] > 3:
            return x + 1
        if self.what == "weight" and self.gain > 0:
            return x + 1
        if self.what == "item":
            return x * int(x.abs().max().item() + 1)
        if self.what == "int of a size":
            return x * int(x.shape[1])
        if self.what == "new tensor":
            blank = x.new_zeros(3)
            return x + 1 if blank.sum() == 0 else x
        if self.what == "assert":
            assert (x.abs() < 1000).all()
        if self.what == "raise" and (x.abs() > 1000).any():
            raise ValueError("too loud")
        return x * 2


def branches(what: str) -> Prepared:
    return prepare(Branches(what).eval(), {"x": torch.rand(2, 5)}, {"x": "batch time"}, {"y": "batch time"})


class Recurrent(torch.nn.Module):
    """An LSTM or a GRU over embeddings."""

    def __init__(self, kind: str, batch_first: bool, bidirectional: bool) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(11, 5)
        self.rnn = getattr(torch.nn, kind)(5, 3, batch_first=batch_first, bidirectional=bidirectional, num_layers=2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.rnn(self.embed(ids))[0]


def recurrent(kind: str, batch_first: bool, bidirectional: bool) -> Prepared:
    torch.manual_seed(1)
    axes = "batch time" if batch_first else "time batch"
    width = 6 if bidirectional else 3
    return prepare(
        Recurrent(kind, batch_first, bidirectional).eval(), {"ids": torch.randint(0, 11, (3, 7))}, {"ids": axes}, {"y": f"{axes} {width}"}
    )


class Tied(torch.nn.Module):
    """One weight under two names, and a transposed use of it."""

    def __init__(self, words: int = 12, width: int = 8) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(words, width)
        self.norm = torch.nn.BatchNorm1d(width)
        self.head = torch.nn.Linear(width, words, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.embed(ids).transpose(1, 2)).transpose(1, 2))


def tied(words: int = 12, width: int = 8) -> Prepared:
    torch.manual_seed(2)
    return prepare(
        Tied(words, width).eval(), {"ids": torch.randint(0, words, (2, 5))}, {"ids": "batch time"}, {"logits": f"batch time {words}"}
    )


class Renamed(torch.nn.Module):
    """A model whose export is another method."""

    def forward(self, x: torch.Tensor, training_only: int) -> torch.Tensor:
        return x * training_only

    def forward_for_export(self, x: torch.Tensor) -> torch.Tensor:
        total = x
        for _ in range(3):
            total = total - 1 if total.sum() > 10 else total + x
        return total
