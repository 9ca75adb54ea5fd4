"""A model as the pipeline hands it over: flat call, resolved signature, example; and quick artifacts of it, right or wrong."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from torchport._options import ExportOptions
from torchport.emit import Artifact
from torchport.ports import Signature, make_inputs
from torchport.verification import Proof, Reference, prove, take_reference


@dataclasses.dataclass
class Bench:
    """One model under test."""

    directory: Path
    module: torch.nn.Module
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    sizes: Mapping[str, int]
    example: Mapping[str, torch.Tensor] | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.module.eval()
        signature = Signature.of(inputs=self.inputs, outputs=self.outputs)
        if self.example is None:
            self.example = make_inputs(signature, self.sizes, seed=self.seed)
        self.signature = signature.resolved(inputs=self.example, outputs=self.plain(self.module)(self.example))

    def plain(self, module: torch.nn.Module) -> Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]:
        """The module as a flat call."""

        def call(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            answer = module(*tensors.values())
            answer = answer if isinstance(answer, tuple) else (answer,)
            return dict(zip(self.outputs, answer, strict=True))

        return call

    @property
    def export_options(self) -> ExportOptions:
        return ExportOptions(output=self.directory / "m.onnx", **self.options)

    def reference(self, **more: Any) -> Reference:
        return take_reference(self.plain(self.module), self.signature, self.example, self.export_options, **more)

    def onnx(self, module: torch.nn.Module | None = None, *, reference: Reference | None = None, **more: Any) -> Artifact:
        """A traced ONNX file of ``module`` (of the model itself unless told), under the reference's names and axes."""
        signature = reference.signature if reference else self.signature
        path = self.directory / "m.onnx"
        settings: dict[str, Any] = {
            "input_names": list(signature.inputs),
            "output_names": list(signature.outputs),
            "dynamic_axes": signature.dynamic_axes(),
            **more,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export((module or self.module).eval(), tuple(self.example.values()), path, dynamo=False, **settings)
        return Artifact("onnx", (path,), signature, "trace", metadata={"torchport.signature": "the bench stands for torchport"})

    def script(self, module: torch.nn.Module | None = None, *, reference: Reference | None = None, suffix: str = ".ts") -> Artifact:
        path = self.directory / f"m{suffix}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace((module or self.module).eval(), tuple(self.example.values()), check_trace=False).save(str(path))
        return Artifact("torchscript", (path,), reference.signature if reference else self.signature, "trace")

    def proof(self, faulty: torch.nn.Module | None = None, **settings: Any) -> Proof:
        """The proof of a traced ONNX file of ``faulty`` against the model."""
        reference = self.reference()
        return prove(self.onnx(faulty, reference=reference, **settings), reference, self.export_options)


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    """Makes a `Bench`."""

    def make(
        module: torch.nn.Module, inputs: Mapping[str, Any], outputs: Mapping[str, Any], sizes: Mapping[str, int], **more: Any
    ) -> Bench:
        return Bench(tmp_path, module, inputs, outputs, sizes, **more)

    return make
