"""Makes the instances of a class that are tested: by the suite's own hook, by the class's, else without arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from torchport._frames import last_line
from torchport.errors import HookError, TorchportError

__all__ = ["instances_of"]

_HINT = (
    "give its arguments defaults, or the class a classmethod exportable_instances(), or make it in conftest.py: "
    "def pytest_torchport_make(cls); pytest.skip(reason) in there leaves it out"
)


def instances_of(cls: type, hook: Callable[[type], Any]) -> dict[str, torch.nn.Module]:
    """The instances of ``cls`` to test, by name; a single one has the name ``""``.

    Random weights start from one seed, so that the next run makes the same.

    Args:
        cls: The class.
        hook: The suite's own way, asked first; ``None`` from it means that it has none for this class.

    Raises:
        HookError: It cannot be made, or what makes it returns something else.
    """
    way, make = "pytest_torchport_make", hook
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = _called(cls, lambda: make(cls))
        if made is None and hasattr(cls, "exportable_instances"):
            way = f"{cls.__name__}.exportable_instances"
            made = _called(cls, cls.exportable_instances)
        elif made is None:
            way, made = cls.__name__, _called(cls, cls)
    if isinstance(made, torch.nn.Module):
        return {"": made}
    named = _named(made)
    if not named or not all(isinstance(one, torch.nn.Module) for one in named.values()):
        raise HookError(
            f"{way} makes no model",
            where=f"{cls.__module__}.{cls.__qualname__}",
            found="nothing" if made is None else repr(made)[:200],
            expected="a torch.nn.Module, a list of them, or a dict from name to module",
            hint="pytest.skip(reason) leaves a class out" if not named else None,
        )
    return named


def _named(made: Any) -> dict[str, Any]:
    if isinstance(made, Mapping):
        return {str(name): one for name, one in made.items()}
    return {str(place): one for place, one in enumerate(made)} if isinstance(made, Sequence) and not isinstance(made, str) else {}


def _called(cls: type, make: Callable[[], Any]) -> Any:
    try:
        made = make()
        return list(made) if hasattr(made, "__next__") else made  # a generator runs here
    except TorchportError:
        raise
    except Exception as error:
        raise HookError(
            f"{cls.__qualname__} could not be made: {type(error).__name__}: {error}",
            where=last_line(error) or f"{cls.__module__}.{cls.__qualname__}",
            hint=_HINT,
        ) from error
