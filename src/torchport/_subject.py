"""The declare stage: from a module and the options of its export to a flat call with a resolved signature."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torchport._asked_axes import names_asked, with_asked_axes
from torchport._failed_run import MADE_FOR_A_FILE, MADE_FROM_TYPES, failed_run, resolved
from torchport._hooks import Hooks, read_hooks
from torchport._made_example import Made, made_example, traced_sizes
from torchport._naming import check_input_names, disabled_inputs_of, match_inputs, refuse_nested, unknown_disabled
from torchport._options import ExportOptions
from torchport.errors import OptionError, TorchportError
from torchport.ports import Port, Signature, is_port_like, make_inputs, signature_from_annotations
from torchport.ports.calling import FlatCall, OutputNames, bind_example
from torchport.ports.structure import flat_declarations

if TYPE_CHECKING:
    import torch

    from torchport.verification import Reference
    from torchport.verification.power import Witnesses

__all__ = ["Subject", "declare", "declare_subnet", "names_of_types", "reference_of", "witnesses_of"]


@dataclasses.dataclass(frozen=True)
class Subject:
    """What one export stands for, before anything is prepared.

    Attributes:
        module: The model.
        call: The flat call of the untouched model.
        forward_name: The method that is exported.
        signature: Its ports, resolved.
        example: The tensors that are traced, by flat name.
        further: Further examples of the caller, for the proof.
        output_example: What the caller says the model answers to its example, by output name.
        given_example: The caller's own example, where another one is traced.
        notes: What the user should know.
        metadata: What the model says of the artifact's use, as the document of the metadata's schema; empty where it says nothing.
    """

    module: torch.nn.Module
    call: FlatCall
    forward_name: str
    signature: Signature
    example: Mapping[str, torch.Tensor]
    further: tuple[Mapping[str, torch.Tensor], ...] = ()
    output_example: Mapping[str, torch.Tensor] | None = None
    given_example: Mapping[str, torch.Tensor] | None = None
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _seen(tensor: torch.Tensor) -> Port:
    """The port of a tensor that nobody declared: every axis as large as it was."""
    return Port(" ".join(str(size) for size in tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))


def _any_rank(tensor: torch.Tensor) -> Port:
    """The port of an output that nobody declared: the reference says which of its axes vary."""
    return Port("...", dtype=str(tensor.dtype).removeprefix("torch."))


def _run(call: FlatCall, tensors: Mapping[str, torch.Tensor]) -> Any:
    import torch

    from torchport.prepare import watched

    args, kwargs = call.arguments.build({name: tensor.clone() for name, tensor in tensors.items()})
    with torch.no_grad(), watched():
        return call.function(*args, **kwargs)


def _run_example(call: FlatCall, module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], ports: Signature, origin: str) -> Any:
    """The model's answer to its example.

    Raises:
        PortError: It fails, and the example is not what was declared.
        ReferenceRunError: It fails.
    """
    try:
        return _run(call, tensors)
    except TorchportError:
        raise
    except Exception as error:
        try:
            resolved(ports, tensors, {})
        except TorchportError as wrong:
            raise wrong from error
        raise failed_run(error, module, tensors, ports.inputs, origin) from error


def _ask(
    module: torch.nn.Module, hooks: Hooks, declared: Mapping[str, Any], example: Any, where: str
) -> tuple[FlatCall, list[str], dict[str, torch.Tensor], Any]:
    """Runs the model on an example: the flat call, the names in ``forward``, the tensors by declared name, and what the model answers."""
    arguments, tensors = bind_example(hooks.forward, example, disabled=hooks.disabled_inputs, hook=where)
    own_names = list(tensors)
    arguments, tensors = match_inputs(arguments, tensors, declared, hooks)
    tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    probe = FlatCall(_whole(module, hooks.forward), arguments, OutputNames.nothing())
    ports = Signature.of(inputs={name: declared[name] for name in tensors if declared.get(name) is not None})
    return probe, own_names, tensors, _run_example(probe, module, tensors, ports, where)


def _whole(module: torch.nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """What a caller of ``module`` gets: ``forward``, within the hooks of the module itself where it has any."""
    if not (module._forward_hooks or module._forward_pre_hooks):
        return forward

    def call(*args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(ValueError):  # what is written in C has no signature
            bound = inspect.signature(forward).bind(*args, **kwargs)  # a hook reads its inputs by place, as callers give them
            args, kwargs = bound.args, bound.kwargs
        before = vars(module).get("forward")
        vars(module)["forward"] = forward
        try:
            return module(*args, **kwargs)
        finally:
            if before is None:
                del vars(module)["forward"]
            else:
                vars(module)["forward"] = before

    return call


def declare(
    module: torch.nn.Module,
    options: ExportOptions,
    *,
    input_types: Mapping[str, Any] | None = None,
    output_types: Mapping[str, Any] | None = None,
    by_place: bool = False,
) -> Subject:
    """Reads the hooks, binds the example, names the outputs, and resolves the signature.

    Args:
        module: The model, in the mode in which it is exported.
        options: The options of the export.
        input_types: The caller's own input types; they win over the model's.
        output_types: The caller's own output types.
        by_place: ``input_types`` has the names of a file; they may differ from those of ``forward``'s parameters.

    Raises:
        HookError: A hook raised or returned the wrong thing.
        PortError: The example does not fit ``forward`` or the declared types.
        ReferenceRunError: The model fails on the example.
    """
    hooks = read_hooks(module, input_types=input_types, output_types=output_types)
    if not hooks.input_types and input_types is None:
        inputs, outputs = signature_from_annotations(hooks.forward)
        hooks = dataclasses.replace(hooks, input_types=inputs, output_types=hooks.output_types or outputs)
    hooks = dataclasses.replace(hooks, inputs_by_place=hooks.inputs_by_place or by_place)
    declared = flat_declarations(hooks.input_types, is_port_like)
    check_input_names(hooks, declared)
    notes = disabled_inputs_of(hooks, declared)
    example, where = (
        (options.input_example, "input_example (argument)") if options.input_example is not None else (hooks.example, "input_example")
    )
    made = Made(example)
    if example is None:
        where = MADE_FOR_A_FILE if by_place else MADE_FROM_TYPES
        made = made_example(module, hooks, declared, lambda one: _ask(module, hooks, declared, one, where))
        example = made.example
    probe, own_names, tensors, answer = _ask(module, hooks, declared, example, where)
    arguments = probe.arguments
    names = OutputNames.of(answer, declared=list(hooks.output_types), disabled=hooks.disabled_outputs, where=hooks.forward_name)
    call = dataclasses.replace(probe, outputs=names)
    answered = [str(key) for key in answer] if isinstance(answer, Mapping) else []
    notes += unknown_disabled(hooks.disabled_outputs, {*hooks.output_types, *names.names, *answered}, "disabled_deployment_output_names")
    results = names.take(answer)
    for name in results:
        refuse_nested(name, hooks.output_types.get(name), "output_types")
    output_declared = flat_declarations(hooks.output_types, is_port_like)
    explicit = names_asked(options, hooks)
    stated = {name: tensor for name, tensor in results.items() if output_declared.get(name) is not None or name in explicit}
    signature = Signature.of(
        inputs={name: declared.get(name) or _seen(tensor) for name, tensor in tensors.items()},
        outputs={
            name: output_declared.get(name) or (_seen(tensor) if name in stated else _any_rank(tensor)) for name, tensor in results.items()
        },
    )
    signature = resolved(with_asked_axes(signature, options, hooks), tensors, stated)
    ranged = {name: dataclasses.replace(signature.inputs[name], element=element) for name, element in made.elements.items()}
    signature = signature.replace_ports(inputs=ranged)

    notes += [f"{name}={value!r} is a constant of the artifact" for name, value in arguments.constants]
    if input_types is not None and not by_place:
        renamed = [f"{own} as {name}" for own, name in zip(own_names, tensors, strict=True) if own != name]
        notes += [f"inputs are named as input_types says, in their order: {', '.join(renamed)}"] if renamed else []
    if names.renamed:
        said = ", ".join(f"{key} as {name}" for key, name in names.renamed)
        notes.append(f"outputs are named as output_types says, in their order: {said}")
    notes += [f"output {name} is None in the example: left out" for name in names.missing]
    notes += [f"output {name} is no tensor, and output_types does not name it: left out" for name in names.plain]
    if any(not tensor.is_floating_point() for tensor in tensors.values()):  # a mask, or lengths that one is made of
        from torchport.prepare import answers_of_fast_paths

        notes += answers_of_fast_paths(module)
    notes += made.notes
    if not signature.symbols:
        notes.append("every axis is static: nothing declares a dynamic one (input_types or dynamic_axes do)")
    traced = _without_ones(call, signature, tensors)
    if traced is not tensors:
        notes.append("an axis of the example has size 0 or 1: traced with a larger example made from it")
    return Subject(
        module=module,
        call=call,
        forward_name=hooks.forward_name,
        signature=signature,
        example=traced,
        further=tuple(_further(call, example, hooks) for example in _listed(options.check_trace)),
        output_example=_output_example(names, options.output_example),
        given_example=tensors if traced is not tensors or options.output_example is not None else None,
        notes=tuple(notes),
    )


def declare_subnet(
    module: torch.nn.Module,
    options: ExportOptions,
    *,
    input_types: Mapping[str, Any] | None = None,
    output_types: Mapping[str, Any] | None = None,
) -> Subject:
    """As `declare`, for a part of a model: of the caller's types it takes those whose names it has.

    A part has the inputs of its ``forward`` and of its own ``input_types``, and the outputs of its own ``output_types``.
    """
    hooks = read_hooks(module, input_types=None, output_types=None)
    try:
        parameters = set(inspect.signature(hooks.forward).parameters)
    except (TypeError, ValueError):
        parameters = set()

    def own(given: Mapping[str, Any] | None, names: Iterable[str]) -> dict[str, Any] | None:
        kept = {name: value for name, value in (given or {}).items() if name in set(names)}
        return kept or None

    return declare(
        module,
        options,
        input_types=own(input_types, parameters | set(hooks.input_types)),
        output_types=own(output_types, hooks.output_types),
    )


def names_of_types(types: Mapping[str, Any] | None) -> set[str]:
    """The flat names of a caller's types."""
    return set(flat_declarations(types or {}, is_port_like))


def reference_of(subject: Subject, options: ExportOptions) -> Reference:
    """What the untouched model answers over the sizes of its ports; what it writes into its weights meanwhile is put back with the rest."""
    from torchport.prepare import as_found_again, kept_as_found, watched
    from torchport.verification import take_reference
    from torchport.verification.counters import KeptNumbers

    @contextlib.contextmanager
    def untouched() -> Iterator[None]:
        with as_found_again(subject.module), watched():
            if options.set_eval:
                subject.module.eval()
            yield

    # The capture sees the model as it was found, too: not the tables and caches that the reference's sizes left in it.
    with kept_as_found(subject.module), watched():
        reference = take_reference(
            subject.call,
            subject.signature,
            subject.example,
            options,
            further_examples=subject.further,
            output_example=subject.output_example,
            given_example=subject.given_example,
            counters=KeptNumbers(subject.module),
        )
    if options.verify:
        with kept_as_found(subject.module), watched():
            reference.check_first_run()
    return dataclasses.replace(reference, untouched=untouched)


def witnesses_of(subject: Subject, reference: Reference) -> Witnesses:
    """Further answers of the untouched model, for the power of the proof; the model is left as `reference_of` leaves it."""
    from torchport.prepare import kept_as_found, watched
    from torchport.verification.power import take_witnesses

    with kept_as_found(subject.module), watched():
        return take_witnesses(subject.call, reference)


def _without_ones(call: FlatCall, signature: Signature, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The example at sizes above one, where the model takes it so: an axis traced at 1 cannot be told from a broadcast one."""
    sizes = {symbol: tensors[name].shape[axis] for name, axes in signature.dynamic_axes("inputs").items() for axis, symbol in axes.items()}
    small = [symbol for symbol, size in sizes.items() if size <= 1]
    larger = {symbol: size for symbol, size in traced_sizes(signature.symbols).items() if symbol in small and size > 1}
    if not larger:
        return tensors
    try:
        made = make_inputs(signature, {**sizes, **larger}, seed=0, example=tensors)
        _run(call, made)
    except Exception:  # noqa: BLE001 - the caller's own example is what counts
        return tensors
    return {name: made[name] for name in tensors}


def _listed(check_trace: bool | Sequence[Any]) -> list[Any]:
    return [] if isinstance(check_trace, bool) else list(check_trace)


def _further(call: FlatCall, example: Any, hooks: Hooks) -> dict[str, torch.Tensor]:
    _, tensors = bind_example(hooks.forward, example, disabled=hooks.disabled_inputs, hook="check_trace")
    if len(tensors) != len(call.arguments.names):
        raise OptionError(
            "an example of check_trace holds other inputs than the one that is traced",
            where="check_trace",
            found=", ".join(tensors),
            expected=", ".join(call.arguments.names),
        )
    return dict(zip(call.arguments.names, tensors.values(), strict=True))


def _output_example(names: OutputNames, example: Any) -> dict[str, torch.Tensor] | None:
    if example is None:
        return None
    try:
        return names.take(example)
    except TorchportError as error:
        raise OptionError(
            "output_example has another structure than what the model returns",
            where="output_example",
            found=error.found,
            expected=error.expected,
        ) from error
