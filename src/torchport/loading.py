"""What comes after an export: open an artifact as a callable, and prove an existing one against its model."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torchport._asked_axes import explicit_names
from torchport._foreign import as_port, shown_signature
from torchport._hooks import read_hooks, read_subnets
from torchport._naming import check_port_names
from torchport._options import ExportOptions, check_kinds, check_types
from torchport._own_words import own_words_only
from torchport._subject import declare, reference_of, witnesses_of
from torchport.emit import Artifact, format_for, read_metadata, stored_signature
from torchport.errors import (
    EmitError,
    HookError,
    OptionError,
    PortError,
    PortTypeError,
    PortValueError,
    ProofError,
    RuntimeFailure,
    TorchportError,
)
from torchport.pipeline import one_at_a_time
from torchport.ports import Port, Signature, signature_from_annotations
from torchport.prepare import kept_as_found
from torchport.verification import Proof, Session, open_artifact, prove
from torchport.verification.arrays import to_array
from torchport.verification.axes import onnx_ports
from torchport.verification.power import Witnesses, prove_with_power
from torchport.verification.record import ANOTHER_STRATEGY

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["LoadedArtifact", "load", "stored_signature", "verify"]

_AXES_HINT = "declare the ports as the file has them (input_types=…, output_types=…, dynamic_axes=…), or make the file again"
_MODEL_HINT = "is this the model that the file was made from, with its weights and in its mode? else make the file again"
_WEIGHTS_HINT = "an artifact exported with export_params=False takes its weights by name"


class LoadedArtifact:
    """An artifact that can be called: arrays by name in, arrays by name out.

    Attributes:
        path: The file.
        signature: Its ports: what the file says about itself, else what its runtime shows.
        metadata: What the file says about itself.
    """

    def __init__(self, path: Path, signature: Signature, metadata: Mapping[str, str], session: Session) -> None:
        self.path = path
        self.signature = signature
        self.metadata = dict(metadata)
        self._session: Session | None = session
        shown = {port.name: port for port in session.inputs}
        self._ports = {name: signature.inputs.get(name) or as_port(port, smallest=0) for name, port in shown.items()}
        self._checks = Signature(self._ports, {})

    def __call__(self, inputs: Mapping[str, Any] | None = None, /, **more: Any) -> dict[str, npt.NDArray[Any]]:
        """Runs the artifact.

        Args:
            inputs: Arrays or tensors by input name.
            **more: The same, as keywords.

        Returns:
            Arrays by output name.

        Raises:
            PortError: An input is missing, unknown, or of the wrong dtype or shape; the message names its port.
            RuntimeFailure: The runtime failed, or the artifact was closed.
        """
        if self._session is None:
            raise RuntimeFailure("the artifact was closed", stage="load", where=self.path.name)
        if inputs is not None and not isinstance(inputs, Mapping):
            raise PortTypeError(
                "inputs are given by name", stage="load", found=type(inputs).__name__, expected=f"a dict with {', '.join(self._ports)}"
            )
        given = {**(inputs or {}), **more}
        self._check_names(given)
        arrays = {name: _to_array(name, given[name], port) for name, port in self._ports.items()}
        try:
            self._checks.resolved(inputs=arrays)
        except PortError as error:
            error.stage = "load"
            raise
        with _called_loading():
            return self._session.run(arrays)

    def _check_names(self, given: Mapping[str, Any]) -> None:
        missing = [name for name in self._ports if name not in given]
        unknown = [name for name in given if name not in self._ports and name not in self.signature.inputs]
        if unknown:
            near = difflib.get_close_matches(unknown[0], self._ports, n=1)
            hint = f"did you mean {near[0]!r}?" if near else None
            raise PortValueError(
                "the artifact has no such input", stage="load", where=unknown[0], expected=", ".join(self._ports), hint=hint
            )
        if missing:
            raise PortValueError(
                "an input is missing",
                stage="load",
                where=missing[0],
                found=", ".join(given) or "no inputs",
                expected=", ".join(self._ports),
                hint=None if missing[0] in self.signature.inputs else _WEIGHTS_HINT,
            )

    def close(self) -> None:
        """Lets go of the runtime; may be called twice."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> LoadedArtifact:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.path.name}: {self.signature}>"


def load(path: str | os.PathLike[str], *, runtime: str | None = None, timeout: float = 600.0) -> LoadedArtifact:
    """Opens an artifact in its runtime.

    Args:
        path: The artifact: what `torchport.export` wrote, or anybody else.
        runtime: The runtime's name, where it is not the one that the extension asks for.
        timeout: Seconds that loading and each answer may take, where the runtime lives in a process of its own.

    Returns:
        A callable; also a context manager that closes it.

    Raises:
        OptionError: No runtime opens such a file, or there is none.
        RuntimeFailure: The runtime refuses the file.

    Example:
        >>> with torchport.load("tagger.onnx") as tagger:  # doctest: +SKIP
        ...     scores = tagger({"tokens": tokens})["scores"]
    """
    _check_timeout(timeout)
    file = _existing(path)
    metadata = _metadata(file)
    stored = stored_signature(metadata)
    with _called_loading():
        session = open_artifact(file, stored, runtime=runtime, timeout=timeout)
    signature = stored or shown_signature(session.inputs, session.outputs, smallest=0)
    return LoadedArtifact(file, signature, metadata, session)


def verify(
    path: str | os.PathLike[str],
    module: torch.nn.Module,
    *,
    input_example: Any = None,
    output_example: Any = None,
    input_types: Mapping[str, Any] | None = None,
    output_types: Mapping[str, Any] | None = None,
    use_dynamic_axes: bool = True,
    dynamic_axes: Mapping[str, Any] | None = None,
    set_eval: bool = True,
    check_trace: bool | Sequence[Any] = False,
    check_tolerance: float = 0.01,
    allow_ties: bool = False,
    power: bool | int = False,
    subnet: str | None = None,
    timeout: float = 600.0,
) -> Proof:
    """Proves that an existing artifact, made by anybody, equals ``module``; the model is left as it was found.

    The ports are those of the arguments, else those of the model, else those that the file states.

    Args:
        path: The artifact.
        module: The model.
        input_example: As for `torchport.export`.
        output_example: As for `torchport.export`.
        input_types: Ports of the inputs, under the names that they have in the file.
        output_types: Ports of the outputs, under the names that they have in the file.
        use_dynamic_axes: Whether the artifact was made with dynamic axes.
        dynamic_axes: The explicit axes that it was made with.
        set_eval: Compare with the model in eval mode.
        check_trace: Further examples.
        check_tolerance: Relative tolerance of ``output_example``.
        allow_ties: Accept another index where two scores tie.
        power: Also measure what the proof would notice, with so many mutants of the artifact; ``True`` makes 40.
        subnet: Which sub-model the artifact stands for; ``None``: told by the file's name (``encoder-m.onnx``).
        timeout: Seconds that loading and each answer may take, where the runtime lives in a process of its own.

    Returns:
        The proof: the sizes that were tried, the worst error, the ranges.

    Raises:
        ProofError: The artifact is not equal to the model; ``error.proof`` is the record.
        TorchportError: The proof could not be made.
    """
    file = _existing(path)
    if not isinstance(module, torch.nn.Module):
        raise OptionError("an artifact is proved against a torch.nn.Module", stage="verify", found=type(module).__name__)
    check_types(input_types=input_types, output_types=output_types)
    metadata = _metadata(file)
    options = ExportOptions(
        output=file,
        input_example=input_example,
        output_example=output_example,
        use_dynamic_axes=use_dynamic_axes,
        dynamic_axes=dynamic_axes,
        set_eval=set_eval,
        check_trace=check_trace,
        check_tolerance=check_tolerance,
        allow_ties=allow_ties,
        power=power,
    )
    check_kinds(options)
    _check_timeout(timeout)
    with one_at_a_time(), own_words_only(), kept_as_found(module):
        part = _part(module, subnet, file)
        with kept_as_found(part):
            if set_eval:
                part.eval()
            inputs, outputs = _types(part, file, metadata, input_types, output_types)
            subject = declare(part, options, input_types=inputs, output_types=outputs, by_place=True)
            known = {*subject.signature.inputs, *subject.signature.outputs}
            check_port_names(explicit_names(options) - known, known, part, "dynamic_axes")
            reference = reference_of(subject, options)
            witnesses = witnesses_of(subject, reference) if options.power else Witnesses()
            artifact = Artifact(
                format=format_for(file).name,
                paths=(file,),
                signature=reference.signature,
                strategy=metadata.get("torchport.strategy", "unknown"),
                metadata=metadata,
            )
            feeds = _weight_feeds(part, file, reference.signature)
            if options.power:
                proof = prove_with_power(artifact, reference, witnesses, options, feeds=feeds, timeout=timeout)
            else:
                proof = prove(artifact, reference, options, feeds=feeds, timeout=timeout)
    try:
        proof.raise_if_failed()
    except ProofError as error:
        if proof.cases and all(any(one.kind == "value" for one in case.findings) for case in proof.cases):
            error.hint = f"every case differs: is this the model that the file was made from, with its weights? else {error.hint}"
        elif error.hint == ANOTHER_STRATEGY:
            error.hint = _AXES_HINT if all(one.kind in ("axis", "dtype") for one in proof.findings) else _MODEL_HINT
        raise
    return proof


@contextmanager
def _called_loading() -> Iterator[None]:
    """Where nothing is verified, a runtime's failure is not called so."""
    try:
        yield
    except RuntimeFailure as error:
        error.stage = "load"
        raise


def _check_timeout(timeout: float) -> None:
    if not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise OptionError("timeout is in seconds", where="timeout", found=timeout, expected="a number above 0")


def _existing(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError("an artifact has a path", stage="load", found=type(path).__qualname__, expected="a str or a pathlib.Path")
    file = Path(os.fspath(path))
    if not file.is_file():
        what = "the artifact is a directory" if file.is_dir() else "there is no such artifact"
        raise OptionError(what, stage="load", where=str(file), hint="give the path of a .onnx, .ts, .pt or .pt2 file")
    return file


def _metadata(file: Path) -> dict[str, str]:
    """What the file says of itself; a file that its format cannot read is left to the runtime to refuse."""
    try:
        return read_metadata(file)
    except EmitError as error:
        if error.hint is not None:
            raise  # the format knows what else it is
        return {}


def _to_array(name: str, value: Any, port: Port) -> npt.NDArray[Any]:
    if isinstance(value, torch.Tensor):
        return to_array(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value, order="C")
    raise PortTypeError(
        "an input is neither an array nor a tensor",
        stage="load",
        where=name,
        found=type(value).__name__,
        expected=f"numpy array or torch tensor, {port.dtype or 'any dtype'} [{port.text if port.axes is not None else '...'}]",
    )


def _part(module: torch.nn.Module, subnet: str | None, file: Path) -> torch.nn.Module:
    """The sub-model that the artifact stands for."""
    subnets = dict(read_subnets(module))
    if subnet is not None:
        if subnet not in subnets:
            raise OptionError(
                f"{type(module).__name__} has no subnet {subnet!r}", stage="verify", found=subnet, expected=", ".join(subnets)
            )
        return subnets[subnet]
    named = [name for name in subnets if file.name.startswith(f"{name}-")]
    if named:
        return subnets[max(named, key=len)]
    if len(subnets) == 1 or "self" in subnets:
        return subnets.get("self") or next(iter(subnets.values()))
    raise OptionError(
        "the file's name does not tell which sub-model it stands for",
        stage="verify",
        where=file.name,
        expected=", ".join(f"{name}-…" for name in subnets),
        hint="say it: subnet=…",
    )


def _types(
    part: torch.nn.Module,
    file: Path,
    metadata: Mapping[str, str],
    inputs: Mapping[str, Any] | None,
    outputs: Mapping[str, Any] | None,
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """The caller's types; where neither the caller nor the model says any, those that the file states."""
    hooks = read_hooks(part, input_types=None, output_types=None)
    annotated = _annotated(hooks.forward)
    stored = stored_signature(metadata)
    if file.suffix.lower() == ".onnx" and stored is None:
        try:
            found = shown_signature(*onnx_ports(file), smallest=1)
        except TorchportError:
            raise
        except Exception as error:
            raise RuntimeFailure(
                "the file is not an ONNX model", stage="load", where=file.name, found=f"{type(error).__name__}: {error}"
            ) from error
        weights = {name for name, _ in (*part.named_parameters(), *part.named_buffers())}
        # Of a foreign file's outputs only the names are taken: what their axes do, the model says.
        stored = Signature(
            {name: port for name, port in found.inputs.items() if name not in weights}, {name: Port() for name in found.outputs}
        )
    if stored is None:
        return inputs, outputs
    if inputs is None and not hooks.input_types and not annotated[0]:
        inputs = stored.inputs
    if outputs is None and not hooks.output_types and not annotated[1]:
        outputs = stored.outputs
    return inputs, outputs


def _annotated(forward: Any) -> tuple[Mapping[str, Port], Mapping[str, Port]]:
    try:
        return signature_from_annotations(forward)
    except HookError:
        return {}, {}


def _weight_feeds(part: torch.nn.Module, file: Path, signature: Signature) -> dict[str, npt.NDArray[Any]]:
    """The weights that a file exported with ``export_params=False`` takes as inputs."""
    if file.suffix.lower() != ".onnx":
        return {}
    tensors = dict((*part.named_parameters(remove_duplicate=False), *part.named_buffers(remove_duplicate=False)))
    names = [port.name for port in onnx_ports(file)[0] if port.name not in signature.inputs]
    return {name: to_array(tensors[name]) for name in names if name in tensors}
