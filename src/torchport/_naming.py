"""How the names of declared inputs meet the parameters of ``forward``: by name, or by place where they were made for something else."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torchport._hooks import Hooks
from torchport.errors import HookError, OptionError, PortError, PortTypeError
from torchport.ports.calling import Arguments, called

if TYPE_CHECKING:
    import torch

__all__ = [
    "check_declared",
    "check_input_names",
    "check_port_names",
    "disabled_inputs_of",
    "known_by_name",
    "match_inputs",
    "nearest",
    "parameters_of",
    "refuse_nested",
    "unknown_disabled",
]


def parameters_of(forward: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """The parameters of ``forward`` by name; ``None`` where nothing shows them."""
    try:
        return inspect.signature(forward).parameters
    except (TypeError, ValueError):
        return None


def known_by_name(forward: Callable[..., Any], names: Iterable[str]) -> bool:
    """Whether ``forward`` has a parameter for any of the names; if it has for none, the declared order is the order of its parameters."""
    parameters = parameters_of(forward)
    if parameters is None:
        return False
    return any(name in parameters for name in names) or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _needed(declared: Mapping[str, Any], disabled: frozenset[str]) -> list[str]:
    return [name for name, value in declared.items() if name not in disabled and getattr(value, "optional", False) is not True]


def check_input_names(hooks: Hooks, declared: Mapping[str, Any]) -> None:
    """Refuses a declared input that is no parameter of ``forward``: taken by place, a slip would name a port in silence.

    Names that were made for another method, another module or a file are not held to this, nor is a ``forward`` that takes any.

    Args:
        hooks: What is exported, and whose names its types are.
        declared: The declared inputs, flat.

    Raises:
        PortError: A name is no parameter's, nor a part of one's.
    """
    parameters = parameters_of(hooks.forward)
    if hooks.inputs_by_place or parameters is None or any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters.values()):
        return
    for name in _needed(declared, hooks.disabled_inputs):
        if name in parameters or any(name.startswith(f"{one}_") for one in parameters):
            continue
        free = [one for one in parameters if one not in declared]
        near = nearest(name, free) or nearest(name, parameters) or (free[0] if len(free) == 1 else None)
        method = called(hooks.forward)
        asked = f"did you mean {near!r}? " if near else ""
        raise PortError(
            f"input_types names an input that {method} does not have",
            where=f"input_types[{name!r}]",
            found=repr(name),
            expected=f"parameters of {method}({', '.join(parameters)})",
            hint=f"{asked}inputs of the graph are called as the parameters of {method}; other names take a forward_for_export with them",
        )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that comes closest, whatever its case; ``None`` where none does."""
    lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    return lower[near[0]] if near else None


def check_declared(module: torch.nn.Module, hooks: Hooks, declared: Mapping[str, Any], needed: Mapping[str, Any]) -> None:
    """Refuses to make an example where nothing is declared, or not all that ``forward`` needs.

    Args:
        module: The model, for messages.
        hooks: What is exported.
        declared: The declared inputs, flat.
        needed: Those of them that an example holds.

    Raises:
        HookError: There is nothing to make an example of.
        PortError: An input that ``forward`` needs is not declared.
    """
    parameters = parameters_of(hooks.forward) or {}
    if not needed:
        name = next(iter(parameters), "x")
        none = "no declared input types" if not declared else "every declared input is optional or disabled"
        raise HookError(
            f"there is nothing to export with: no input example and {none}",
            where=f"{type(module).__module__}.{type(module).__qualname__}",
            found=", ".join(declared) or None,
            hint=f'pass input_example=(tensor, …) (--input-example FILE), or input_types={{"{name}": "batch 80 time"}} '
            f'(--input-type "{name}=batch 80 time") with the axes that it has',
        )
    if not known_by_name(hooks.forward, needed):
        return  # by place
    wanted = [
        name for name, one in parameters.items() if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    for name in wanted:
        if name not in needed and not any(one.startswith(f"{name}_") for one in needed):
            raise PortError(
                f"input_types does not declare an input that {called(hooks.forward)} needs",
                where=name,
                found=", ".join(declared),
                expected=", ".join(wanted),
                hint=f'declare it, too: input_types[{name!r}] (--input-type "{name}=batch 80 time"), or pass an input_example with all',
            )


def match_inputs(
    arguments: Arguments, tensors: Mapping[str, torch.Tensor], declared: Mapping[str, Any], hooks: Hooks
) -> tuple[Arguments, dict[str, torch.Tensor]]:
    """Gives the tensors the names that were declared, by name or, where ``forward`` calls them otherwise, by place.

    Raises:
        PortTypeError: The example does not hold what is declared.
    """
    disabled = hooks.disabled_inputs
    wanted = {name: value for name, value in declared.items() if name not in disabled}
    needed = _needed(declared, disabled)
    if set(wanted) <= set(tensors) or (set(needed) <= set(tensors) and set(tensors) <= set(wanted)):
        return arguments, dict(tensors)
    names = list(wanted) if len(wanted) == len(tensors) else needed
    missing = [name for name in wanted if name not in tensors and name in needed]
    if not missing:
        return arguments, dict(tensors)
    _refuse_nested(hooks.input_types, tensors)
    if len(names) == len(tensors) and not set(names) & set(tensors):
        renames = dict(zip(tensors, names, strict=True))
        return arguments.renamed(renames), {renames[name]: tensor for name, tensor in tensors.items()}
    near = nearest(missing[0], [name for name in tensors if name not in wanted])
    raise PortTypeError(
        "input_types declares an input that the example does not hold",
        where=missing[0],
        found=", ".join(tensors),
        expected=", ".join(wanted),
        hint=f"did you mean {near!r}?" if near else "add it to input_example, or name it in disabled_deployment_input_names",
    )


def check_port_names(unclaimed: set[str], known: set[str], module: torch.nn.Module, argument: str) -> None:
    """Every port named in a per-name argument must belong to some subnet.

    Raises:
        OptionError: One does not.
    """
    for name in sorted(unclaimed):
        near = nearest(name, sorted(known))
        raise OptionError(
            f"{argument} names a port that {type(module).__name__} does not have",
            where=name,
            expected=", ".join(sorted(known)),
            hint=f"did you mean {near!r}?" if near else _NAMING,
        )


_TYPO = 0.8
"""From this likeness on, a name that is not there is taken for a known one, mistyped."""


def unknown_disabled(disabled: Iterable[str], known: Iterable[str], hook: str) -> list[str]:
    """Notes on names that a deployment shall do without and that the model does not have; classes name those of all their configurations.

    Raises:
        HookError: One is nearly that of a port: a port stays that was meant to go.
    """
    notes = []
    names = sorted(known)
    for name in sorted(set(disabled) - set(names)):
        near = difflib.get_close_matches(name, names, n=1, cutoff=_TYPO)
        if near:
            raise HookError(
                f"{hook} names what the model does not have",
                where=hook,
                found=repr(name),
                expected=", ".join(names),
                hint=f"did you mean {near[0]!r}?",
            )
        notes.append(f"{hook} names {name}, which the model does not have")
    return notes


def disabled_inputs_of(hooks: Hooks, declared: Iterable[str]) -> list[str]:
    """Notes on disabled inputs; see `unknown_disabled`."""
    parameters = parameters_of(hooks.forward)
    if parameters is None or any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return []
    return unknown_disabled(hooks.disabled_inputs, {*parameters, *hooks.input_types, *declared}, "disabled_deployment_input_names")


_NAMING = "inputs are called as forward's parameters, outputs as output_types says, else output, or output_0, output_1, …"


def _refuse_nested(types: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """A tuple of types declares a tuple of tensors; where there is one tensor, its axes may have been meant."""
    for name, declared in types.items():
        if name in tensors:
            refuse_nested(name, declared, "input_types")


def refuse_nested(name: str, declared: Any, argument: str) -> None:
    """Refuses types of several tensors under the name of one, where they are that.

    Raises:
        PortTypeError: They are no one type.
    """
    from torchport.ports import is_port_like

    if declared is None or is_port_like(declared) or not isinstance(declared, (tuple, list, Mapping)):
        return
    words = list(declared.values() if isinstance(declared, Mapping) else declared)
    plain = all(isinstance(one, (str, int)) for one in words)
    raise PortTypeError(
        f"{argument} declares {len(words)} tensors where there is one",
        where=f"{argument}[{name!r}]",
        found=repr(declared)[:200],
        expected='one type, like "batch 80 time" or ("batch 80 time", "float32")',
        hint=f'axes are one text, parted by spaces: "{" ".join(map(str, words))}"' if plain else None,
    )
