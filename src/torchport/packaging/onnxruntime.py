"""ONNX Runtime's own model package: a folder that the runtime opens by itself, and chooses the graph for the machine that it is on.

Source: https://github.com/microsoft/onnxruntime/blob/main/model_package/README.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from torchport._comparison import compare
from torchport._strict_json import strict_json
from torchport._version import __version__
from torchport.errors import MissingDependencyError, OptionError, PackageError
from torchport.packaging._base import Target
from torchport.packaging._records import Order, Part

__all__ = ["OnnxRuntimeTarget"]

_MANIFEST = "manifest.json"
_SCHEMA = "1.0"
_OURS = "torchport"
_CPU = "CPUExecutionProvider"
_NOTE = "experimental: ONNX Runtime calls the interface to its model packages so, and may change it"


class OnnxRuntimeTarget(Target):
    """A folder with a manifest that ONNX Runtime reads, and a component for each graph; the runtime opens it before it is handed over."""

    name: ClassVar[str] = "onnxruntime"
    formats: ClassVar[Sequence[str]] = ("onnx",)
    options: ClassVar[Mapping[str, str]] = {
        "name": "what the package is called; the folder's name, if not given",
        "version": "which version of it this is, in words",
        "providers": f"where its graphs may run, separated by commas: {_CPU}, if not given",
    }

    def is_ours(self, directory: Path) -> bool:
        """A folder with a manifest that torchport wrote for the runtime."""
        try:
            document = strict_json((directory / _MANIFEST).read_text(encoding="utf-8"))
            return _OURS in document["additional_metadata"] and "components" in document
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False

    def check_export(self, order: Order, output: Path) -> None:
        """The runtime that will open the package has to know such packages."""
        super().check_export(order, output)
        _runtime()
        _providers(order.options.get("providers", _CPU))

    def _write(self, parts: Sequence[Part], stage: Path, order: Order) -> Sequence[str]:
        runtime = _runtime()
        providers = _providers(order.options.get("providers", _CPU))
        components: dict[str, Any] = {}
        for part in parts:
            if part.artifact.format != "onnx":
                raise PackageError("ONNX Runtime runs ONNX graphs only", where=part.artifact.path.name, found=part.artifact.format)
            if part.name in components or Path(part.name).name != part.name or part.name in (".", "..", _MANIFEST):
                raise PackageError("each graph of a package needs a name of its own that can be a folder's", where=part.name)
            folder = stage / part.name
            folder.mkdir()
            file, *_ = self.copy_artifact(part, folder)
            components[part.name] = {"variants": {name: _variant(part.name, name, file.name) for name in providers}}
        words = {"metadata": dict(sorted(order.metadata.items())), "graphs": {part.name: _told(part) for part in parts}}
        document = {
            "schema_version": _SCHEMA,
            "package_name": order.options.get("name", order.directory.absolute().name),
            **({"package_version": order.options["version"]} if "version" in order.options else {}),
            "layout": "portable",
            "components": components,
            "additional_metadata": {_OURS: {"version": __version__, **words}},
        }
        (stage / _MANIFEST).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        if _CPU in providers:
            for part in parts:
                _answer_alike(runtime, stage, part)
        untried = [name for name in providers if name != _CPU]
        tried = [f"not tried here: {', '.join(untried)}"] if untried else []
        return [*(note for part in parts for note in part.notes), *tried, _NOTE]


def _runtime() -> Any:
    import onnxruntime

    if not hasattr(onnxruntime, "ModelPackageContext"):
        raise MissingDependencyError(
            "this ONNX Runtime knows no model packages",
            found=f"onnxruntime {onnxruntime.__version__}",
            expected="a newer one: 1.32 knows them",
            hint="pip install --upgrade onnxruntime",
        )
    return onnxruntime


def _providers(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if odd := [name for name in names if not name.endswith("ExecutionProvider") or not name.isidentifier()]:
        raise OptionError(
            "that is no execution provider's name", stage="package", where="providers", found=odd[0] or "nothing", expected=_CPU
        )
    return names


def _variant(component: str, provider: str, file: str) -> dict[str, Any]:
    """All providers share one folder: the graph is the same."""
    return {"variant_directory": component, "ep": provider, "executor_info": {"ort": {"model_file": file}}}


def _told(part: Part) -> dict[str, Any]:
    """What is worth knowing of a graph; the runtime passes it over."""
    proof = None if part.proof is None else {"cases": len(part.proof.cases), "worst_error": part.proof.worst_error}
    return {"model": part.model, "strategy": part.artifact.strategy, "digests": dict(part.artifact.digests), "proved": proof}


def _answer_alike(runtime: Any, stage: Path, part: Part) -> None:
    """The runtime opens the package itself; each golden case has to come out as from the file that was proved."""
    options = runtime.ModelPackageOptions(runtime.SessionOptions())
    package = runtime.ModelPackageContext(str(stage)).select_component(part.name, options).create_session()
    proved = runtime.InferenceSession(str(part.artifact.path), providers=[_CPU])
    names, asked = ([one.name for one in ports] for ports in (proved.get_outputs(), proved.get_inputs()))
    for golden in part.goldens:
        feed = {key: array for key, array in golden.inputs.items() if key in asked}
        for name, expected, got in zip(names, proved.run(names, feed), package.run(names, feed), strict=True):
            difference = compare(np.asarray(expected), np.asarray(got), golden.tolerances.get(name, 0.0))
            if difference.kind is not None:
                raise PackageError(
                    "opened as a package, the graph answers otherwise than the file that was proved",
                    where=f"{part.name}: {golden.name}: {name}",
                    found=str(difference),
                )
