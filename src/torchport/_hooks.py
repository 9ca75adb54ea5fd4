"""Reads the hooks that a model may define, and dresses what goes wrong in them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torchport.errors import HookError, TorchportError
from torchport.integrations import integration_for

if TYPE_CHECKING:
    import torch

__all__ = ["Hooks", "call_hook", "defines", "read_hooks", "read_metadata", "read_subnets"]

_MISSING = object()


@dataclass(frozen=True)
class Hooks:
    """What a model says about its own export; the arguments of ``export`` have won already.

    Attributes:
        forward: The bound method that is exported: ``forward_for_export`` where there is one.
        forward_name: Its name; empty where it is a function that is no method of the module.
        example: The model's own example, or ``None``.
        example_hook: Where the example comes from, for messages.
        input_types: Declared types of the inputs, by name.
        output_types: Declared types of the outputs, by name.
        disabled_inputs: Inputs that a deployment has no use for.
        disabled_outputs: Outputs that a deployment has no use for.
        dynamic_axes: Explicit dynamic axes of the model, or ``None``.
        inputs_by_place: The names of ``input_types`` were made for something else than ``forward`` (another module, another method, a
            file, a ``forward`` of torch's own, which says ``input``): they may differ from its parameters, and stand for them in order.
    """

    forward: Callable[..., Any]
    forward_name: str = "forward"
    example: Any = None
    example_hook: str = "input_example"
    input_types: Mapping[str, Any] = field(default_factory=dict)
    output_types: Mapping[str, Any] = field(default_factory=dict)
    disabled_inputs: frozenset[str] = frozenset()
    disabled_outputs: frozenset[str] = frozenset()
    dynamic_axes: Mapping[str, Any] | None = None
    inputs_by_place: bool = False


def defines(module: object, name: str) -> bool:
    """Whether ``module`` has ``name`` of its own making (an attribute, a property or a method)."""
    return inspect.getattr_static(module, name, _MISSING) is not _MISSING


def call_hook(module: object, name: str, *args: Any, **kwargs: Any) -> Any:
    """The value of a hook, whether it is an attribute, a property or a method; ``None`` where there is none.

    Raises:
        HookError: The hook raised; the message names it and the class.
    """
    if not defines(module, name):
        return None
    try:
        value = getattr(module, name)
        # A module is callable and a value all the same: input_module = self.encoder.
        if callable(value) and not isinstance(value, type) and not hasattr(value, "named_parameters"):
            value = value(*args, **kwargs)
    except TorchportError:
        raise
    except Exception as error:
        raise HookError(
            f"{type(module).__name__}.{name} raised {type(error).__name__}: {error}",
            where=f"{type(module).__module__}.{type(module).__qualname__}.{name}",
            hint=f"call model.{name} by itself to see the whole traceback",
        ) from error
    return value


def _wrong(module: object, name: str, found: Any, expected: str) -> HookError:
    return HookError(
        f"{type(module).__name__}.{name} returned the wrong thing",
        where=f"{type(module).__module__}.{type(module).__qualname__}.{name}",
        found=f"{type(found).__name__}: {found!r}"[:200],
        expected=expected,
    )


def _types(module: object, name: str) -> dict[str, Any] | None:
    hook = f"{name}_for_export" if defines(module, f"{name}_for_export") else name
    value = call_hook(module, hook)
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _wrong(module, hook, value, "a dict from port name to type")
    return dict(value)


def _names(module: object, name: str) -> frozenset[str]:
    value = call_hook(module, name)
    if value is None:
        return frozenset()
    if isinstance(value, str) or not isinstance(value, (set, frozenset, list, tuple)) or not all(isinstance(one, str) for one in value):
        raise _wrong(module, name, value, "a set, list or tuple of port names")
    return frozenset(value)


def _example(module: object) -> Any:
    """The model's own example, whether its hook takes ``max_batch`` and ``max_dim`` or not."""
    if not defines(module, "input_example"):
        return None
    static = inspect.getattr_static(module, "input_example")
    hook = None if isinstance(static, (property, functools.cached_property)) else getattr(module, "input_example", None)
    needed: dict[str, int] = {}
    if callable(hook):
        asked = {"max_batch": 3, "max_dim": 37}
        parameters = inspect.signature(hook).parameters
        needed = {name: asked[name] for name, one in parameters.items() if one.default is one.empty and name in asked}
    value = call_hook(module, "input_example", **needed)
    if value is not None and not isinstance(value, (tuple, list, Mapping)) and not hasattr(value, "shape"):
        raise _wrong(module, "input_example", value, "a tuple of inputs (a last dict by name), a tensor or a dict")
    return value


def _part(module: Any, name: str) -> Any:
    part = call_hook(module, name)
    return module if part is None else part


def read_hooks(module: torch.nn.Module, *, input_types: Mapping[str, Any] | None, output_types: Mapping[str, Any] | None) -> Hooks:
    """Reads every hook of ``module`` that says what its graph looks like.

    Args:
        module: The model.
        input_types: The caller's own types; they win.
        output_types: The caller's own types; they win.

    Raises:
        HookError: A hook raised or returned the wrong thing.
    """
    integration = integration_for(module)
    extra = integration.hooks(module)
    if integration.speaks_for_its_modules:
        return _foreign_hooks(module, extra, input_types, output_types)
    inputs, outputs = _part(module, "input_module"), _part(module, "output_module")
    own_example = defines(module, "input_example")
    example = _example(module if own_example else inputs)
    forward_name = "forward_for_export" if getattr(module, "forward_for_export", None) is not None else "forward"
    forward = getattr(module, forward_name)
    if getattr(forward, "__name__", "") == "_forward_unimplemented":  # what torch.nn.Module itself has
        raise HookError(
            f"{type(module).__name__} has no forward",
            where=f"{type(module).__module__}.{type(module).__qualname__}",
            expected="a method forward, or forward_for_export",
            hint="a model of several parts names them in list_export_subnets",
        )
    if not callable(forward):
        raise _wrong(module, "forward_for_export", forward, "a method")
    dynamic_axes = call_hook(module, "dynamic_shapes_for_export")
    if dynamic_axes is not None and not isinstance(dynamic_axes, Mapping):
        raise _wrong(module, "dynamic_shapes_for_export", dynamic_axes, "a dict from port name to {axis: symbol}")
    given_inputs = input_types if input_types is not None else _types(inputs, "input_types")
    given_outputs = output_types if output_types is not None else _types(outputs, "output_types")
    return Hooks(
        forward=forward,
        forward_name=forward_name,
        example=example if example is not None else extra.get("input_example"),
        input_types=given_inputs if given_inputs is not None else extra.get("input_types", {}),
        output_types=given_outputs if given_outputs is not None else extra.get("output_types", {}),
        disabled_inputs=_names(module, "disabled_deployment_input_names") | _names(inputs, "disabled_deployment_input_names"),
        disabled_outputs=_names(module, "disabled_deployment_output_names") | _names(outputs, "disabled_deployment_output_names"),
        dynamic_axes=dynamic_axes if dynamic_axes is not None else extra.get("dynamic_axes"),
        inputs_by_place=forward_name == "forward_for_export"
        or (input_types is None and (inputs is not module or given_inputs is None))
        or str(getattr(forward, "__module__", "")).startswith("torch."),
    )


def _foreign_hooks(
    module: Any, said: Mapping[str, Any], input_types: Mapping[str, Any] | None, output_types: Mapping[str, Any] | None
) -> Hooks:
    """What an integration says of a module whose own hooks mean something else."""
    return Hooks(
        forward=said.get("forward", module.forward),
        forward_name="" if "forward" in said else "forward",
        example=said.get("input_example"),
        input_types=input_types if input_types is not None else said.get("input_types", {}),
        output_types=output_types if output_types is not None else said.get("output_types", {}),
        dynamic_axes=said.get("dynamic_axes"),
        inputs_by_place=True,
    )


def read_subnets(module: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """The sub-models that become one artifact each; ``self`` is the model itself.

    Raises:
        HookError: ``list_export_subnets`` or ``get_export_subnet`` returned the wrong thing.
    """
    names = call_hook(module, "list_export_subnets")
    if names is None:
        return [("self", module)]
    if isinstance(names, str) or not isinstance(names, (list, tuple)) or not names or len(set(names)) != len(names):
        raise _wrong(module, "list_export_subnets", names, "a list of different names")
    subnets: list[tuple[str, torch.nn.Module]] = []
    for name in names:
        if defines(module, "get_export_subnet"):
            part = call_hook(module, "get_export_subnet", name)
        else:
            part = module if name == "self" else getattr(module, name, None)
        if not hasattr(part, "named_parameters"):
            raise _wrong(module, "get_export_subnet", part, f"the torch.nn.Module named {name!r}")
        subnets.append((name, part))
    return subnets


def read_metadata(module: torch.nn.Module, subnet: str, part: torch.nn.Module, ports: Collection[str]) -> dict[str, Any]:
    """What the model and its part say of the artifact's use, key by key: what the part says wins, and a hook over its integration.

    Args:
        module: The model that is exported.
        subnet: The part's name; ``self`` for the model itself.
        part: The part.
        ports: The graph's ports: what an integration says of others, which the caller named otherwise, is left out.

    Raises:
        HookError: A hook raised or returned the wrong thing.
    """
    known = dict(integration_for(module).metadata(module, subnet, part))
    if "ports" in known:
        known["ports"] = {role: name for role, name in known["ports"].items() if name in ports}
    if "states" in known:
        known["states"] = [state for state in known["states"] if {state["input"], state["output"]} <= set(ports)]
    said = {**known, **_metadata_of(module, subnet)}
    return said if part is module else {**said, **_metadata_of(part, "self")}


def _metadata_of(module: object, subnet: str) -> dict[str, Any]:
    hook = getattr(module, "export_metadata", None) if _is_method(module, "export_metadata") else None
    takes_name = callable(hook) and bool(inspect.signature(hook).parameters)
    value = call_hook(module, "export_metadata", *([subnet] if takes_name else []))
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _wrong(module, "export_metadata", value, "a dict by the names of docs/metadata.md")
    return dict(value)


def _is_method(module: object, name: str) -> bool:
    static = inspect.getattr_static(module, name, None)
    return static is not None and not isinstance(static, (property, functools.cached_property))
