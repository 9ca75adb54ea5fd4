"""Calls `_prepare_for_export` of every exportable module, parents first, once each."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

from torchport._options import ExportOptions
from torchport.errors import HookError, OptionError, TorchportError
from torchport.prepare.state import watched

__all__ = ["check_prepare_names", "run_prepare_hooks"]

_HOOK = "_prepare_for_export"
_ALWAYS = frozenset(field.name for field in dataclasses.fields(ExportOptions)) | {"replace_1D_2D"}
"""Arguments of every export: a hook may name them, none has to."""


def run_prepare_hooks(module: nn.Module, family: Sequence[nn.Module] = (), /, **kwargs: Any) -> None:
    """Calls ``_prepare_for_export`` on ``module`` and on its submodules that have one, parents first.

    A hook gets the keywords that it names, or all of them when it takes ``**kwargs``. One that its parent has called already is not
    called again. Submodules that a hook puts in place have their turn, too. What the hooks change in place is watched, so that
    `kept_as_found` can undo it.

    Args:
        module: The module that is prepared.
        family: What is exported by the same call: a keyword may be meant for a hook of another subnet.
        **kwargs: The arguments of the export.

    Raises:
        OptionError: No hook names one of the keywords.
        HookError: A hook raised.
    """
    check_prepare_names(module, family, **kwargs)
    called: set[int] = set()
    with watched():
        while (part := next((part for part in _exportable(module) if id(part) not in called), None)) is not None:
            _call(module, part, kwargs, called)


def _exportable(module: nn.Module) -> Iterator[nn.Module]:
    return (part for part in module.modules() if callable(inspect.getattr_static(part, _HOOK, None)))


def _call(root: nn.Module, part: nn.Module, kwargs: dict[str, Any], called: set[int]) -> None:
    called.add(id(part))
    # While a parent's hook runs, those of its children note that they were called.
    noted = [(child, vars(child).get(_HOOK)) for child in _exportable(part) if id(child) not in called]
    for child, _ in noted:
        vars(child)[_HOOK] = _noting(child, getattr(child, _HOOK), called)
    try:
        hook: Callable[..., Any] = getattr(part, _HOOK)
        hook(**_accepted(hook, kwargs))
    except TorchportError:
        raise
    except Exception as error:
        raise HookError(
            f"{type(part).__name__}.{_HOOK} raised {type(error).__name__}: {error}",
            stage="prepare",
            where=_where(root, part),
            found=", ".join(sorted(kwargs)),
            expected=f"{_HOOK}(self, **kwargs) prepares the module in place",
            hint=f"call model.{_HOOK}() by itself to see the whole traceback",
        ) from error
    finally:
        for child, own in noted:
            vars(child).pop(_HOOK, None)
            if own is not None:
                vars(child)[_HOOK] = own


def _noting(child: nn.Module, hook: Callable[..., Any], called: set[int]) -> Callable[..., Any]:
    @functools.wraps(hook)
    def noting(*args: Any, **kwargs: Any) -> Any:
        called.add(id(child))
        return hook(*args, **kwargs)

    return noting


def _where(root: nn.Module, part: nn.Module) -> str:
    path = next((path for path, candidate in root.named_modules() if candidate is part), "")
    kind = f"{type(part).__module__}.{type(part).__qualname__}.{_HOOK}"
    return f"{path} ({kind})" if path else kind


def _accepted(hook: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(hook).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return kwargs
    named = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL}
    return {name: value for name, value in kwargs.items() if name in named}


def _named(module: nn.Module) -> set[str]:
    """Every keyword that some hook names, along the whole chain of ``super()`` calls."""
    names: set[str] = set()
    for part in _exportable(module):
        own = vars(part).get(_HOOK)
        for hook in (own, *(vars(kind).get(_HOOK) for kind in type(part).__mro__)):
            if callable(hook):
                parameters = list(inspect.signature(hook).parameters.values())
                names.update(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "self")
    return names


_ELSEWHERE = {
    "args": "input_example",
    "example_inputs": "input_example",
    "dynamic_shapes": "dynamic_axes",
    "input_names": "input_types",
    "output_names": "output_types",
}
"""What exporters of PyTorch call an argument of this one."""


def check_prepare_names(module: nn.Module, family: Sequence[nn.Module] = (), /, **kwargs: Any) -> None:
    """Refuses a keyword of an export that no hook names.

    Raises:
        OptionError: There is one.
    """
    named = _named(module).union(*map(_named, family))
    for name in kwargs:
        if name in named or name in _ALWAYS:
            continue
        near = [_ELSEWHERE[name]] if name in _ELSEWHERE else difflib.get_close_matches(name, sorted(named | _ALWAYS), n=1)
        if not near:
            near = [known for known in sorted(named | _ALWAYS) if known.lower() == name.lower()]
        raise OptionError(
            f"no {_HOOK} of {type(module).__name__} takes {name!r}, nor does export",
            where=name,
            found=name,
            expected=", ".join(sorted(named | {"replace_1D_2D"})),
            hint=f"did you mean {near[0]!r}?" if near else None,
        )
