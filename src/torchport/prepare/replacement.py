"""The base class of every module swap: an extension author writes `matches` and `replace`; the base proves the swap."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from enum import IntEnum
from typing import Any, ClassVar, TypeVar, final

import torch
from torch import nn

from torchport._registry import Registry
from torchport.errors import SwapError
from torchport.prepare._compare import MismatchError, cloned, worst_difference

__all__ = [
    "PairReplacement",
    "Passthrough",
    "Reference",
    "Replacement",
    "Stage",
    "borrowed",
    "defined_by",
    "passthrough",
    "prove_equal",
    "replacements",
    "shell",
    "tied",
]

Reference = Callable[..., Any]
M = TypeVar("M", bound=nn.Module)


class Stage(IntEnum):
    """When a replacement has its turn; later ones see what earlier ones put in place."""

    REPARAMETRIZE = 0
    """Computed weights become plain ones."""
    TYPE = 1
    """A module that cannot be exported becomes one that can."""
    CLEAN = 2
    """What does nothing at inference goes."""
    FOLD = 3
    """Two modules become one."""
    TWIN = 4
    """On request: 1-D modules become 2-D ones."""


class Replacement(ABC):
    """How one kind of module is replaced by an equal one that exports better.

    Write `matches` and `replace`; set ``name`` and ``stage``. The walk over the tree, tied modules, restoring, and the proof that old and
    new are equal on the tensors that reach them come from the base.

    Attributes:
        name: The name in the registry.
        stage: When it has its turn.
        cleanup: Whether it only makes sense for inference; such a one is part of an export, not of `replace_for_export`.
        on_request: The keyword of ``export`` that asks for it, or ``None`` for always.
        carries_hooks: Whether forward hooks of the old module go to the new one. ``replace`` decides by itself where this is off.

    Example:
        >>> class SwishForMySwish(Replacement):
        ...     name = "my-swish"
        ...     def matches(self, module): return isinstance(module, MySwish)
        ...     def replace(self, module): return nn.SiLU()
        >>> replacements.add("my-swish", SwishForMySwish())
    """

    name: str
    stage: ClassVar[Stage] = Stage.TYPE
    cleanup: ClassVar[bool] = False
    on_request: ClassVar[str | None] = None
    carries_hooks: ClassVar[bool] = True

    @abstractmethod
    def matches(self, module: nn.Module) -> bool:
        """Whether this replaces ``module``; must be true only when the new one computes the same."""

    @abstractmethod
    def replace(self, module: nn.Module) -> nn.Module:
        """A new module that computes the same, made of the old one's own tensors where possible; ``module`` itself stays unchanged."""

    def reference(self, module: nn.Module) -> Reference:
        """What the new module must equal: the old one's ``forward``."""
        return module.forward

    def probe(self, module: nn.Module) -> tuple[Any, ...] | None:
        """Inputs that ``module`` accepts, for a proof without an example of the whole model; ``None`` when only the model knows any."""
        return None

    @final
    def apply(self, module: nn.Module) -> nn.Module:
        """Replaces ``module``, with the checks and the housekeeping that every swap needs.

        Raises:
            SwapError: ``replace`` raised, or returned something that is no new module.
        """
        try:
            new = self.replace(module)
        except Exception as error:
            raise SwapError(
                f"replacement {self.name!r} raised {type(error).__name__}: {error}",
                where=type(module).__qualname__,
                expected="a new module",
            ) from error
        if not isinstance(new, nn.Module) or new is module:
            raise SwapError(
                f"replacement {self.name!r} must return a new module",
                where=type(module).__qualname__,
                found="the old one" if new is module else repr(new)[:80],
                expected="a torch.nn.Module",
            )
        if new.training != module.training:
            new.train(module.training)
        if self.carries_hooks:
            _carry_hooks(module, new)
        return new


class PairReplacement(Replacement):
    """A replacement that folds a module into the one before it.

    Write `matches` (the second module), `matches_first` and `replace_pair`. It is applied where the data flow of an example call shows
    that the second takes exactly what the first gives, and that nothing else does.
    """

    stage: ClassVar[Stage] = Stage.FOLD
    cleanup: ClassVar[bool] = True

    @abstractmethod
    def matches_first(self, module: nn.Module) -> bool:
        """Whether something can be folded into ``module``."""

    @abstractmethod
    def fits(self, first: nn.Module, second: nn.Module, between: torch.Tensor) -> bool:
        """Whether this ``second`` folds into this ``first``; ``between`` is what flows from one to the other."""

    @abstractmethod
    def replace_pair(self, first: nn.Module, second: nn.Module) -> nn.Module:
        """One module that computes ``second(first(x))``."""

    def replace(self, module: nn.Module) -> nn.Module:
        """What stays in the second's place: nothing."""
        return passthrough(module)


def prove_equal(
    name: str, answer: Any, reference: Reference, args: tuple[Any, ...], kwargs: dict[str, Any], *, where: str, types: str
) -> float:
    """Compares a new module's answer with what the old one answers.

    Args:
        name: The replacement's name.
        answer: What the new module answered.
        reference: What it must equal.
        args: The inputs; they stay unchanged.
        kwargs: The inputs by name.
        where: The module's path.
        types: Old and new type, for messages.

    Returns:
        The largest difference, relative to the answer's scale.

    Raises:
        SwapError: They differ by more than rounding.
    """

    def run(change: Callable[[Any], Any]) -> Any:
        return reference(*change(args), **change(kwargs))

    try:
        return worst_difference(answer, run(cloned), run)
    except MismatchError as found:
        raise SwapError(
            f"{types} does not compute the same ({found.kind}; worst error {found.error:.1e} of the scale)",
            where=where or "the module itself",
            found=found.found,
            expected=found.expected,
            hint=f"the replacement {name!r} is wrong for this module: report it, or take it out of torchport.prepare.replacements",
        ) from None


replacements: Registry[Replacement] = Registry("replacement", "torchport.replacements")
"""Every replacement, the built-in ones and those of third parties (entry-point group ``torchport.replacements``)."""


def defined_by(module: object, method: str) -> str | None:
    """The qualified name of the class that defines ``method`` for ``module``; ``None`` where the instance has its own or nobody has it.

    A subclass that overrides ``forward`` computes something else, whatever its base is called.
    """
    if method in vars(module):
        return None
    owner = next((kind for kind in type(module).__mro__ if method in vars(kind)), None)
    return None if owner is None else f"{owner.__module__}.{owner.__qualname__}"


def shell(module: nn.Module, kind: type[M]) -> M:
    """A module of type ``kind`` with the attributes, parameters, buffers and children of ``module``, itself unchanged.

    Containers are copied one level deep, tensors are shared: nothing of the weights is copied.
    """
    new = kind.__new__(kind)
    for name, value in vars(module).items():
        if isinstance(value, OrderedDict):
            value = OrderedDict(value)
        elif type(value) in (dict, list, set):
            value = type(value)(value)
        new.__dict__[name] = value
    return new


def borrowed(tensor: torch.Tensor | None, view: Callable[[torch.Tensor], torch.Tensor] | None = None) -> nn.Parameter | None:
    """A parameter on the storage of ``tensor``: the very same one, or another shape of it."""
    if tensor is None:
        return None
    if view is None and isinstance(tensor, nn.Parameter):
        return tensor
    data = tensor.detach() if view is None else view(tensor.detach())
    new = nn.Parameter(data, requires_grad=tensor.requires_grad)
    ties = _TIES.get()
    return new if ties is None else ties.setdefault((data.data_ptr(), data.storage_offset(), tuple(data.shape), data.stride()), new)


_TIES: ContextVar[dict[tuple[Any, ...], nn.Parameter] | None] = ContextVar("torchport_ties", default=None)


@contextlib.contextmanager
def tied() -> Iterator[None]:
    """Inside, modules that share a parameter share the one that is borrowed from it, too."""
    token = _TIES.set({})
    try:
        yield
    finally:
        _TIES.reset(token)


class Passthrough(nn.Identity):
    """Gives its input back; keeps the attributes that a model may read (``dropout.p``)."""


def passthrough(module: nn.Module) -> nn.Module:
    """An identity with the plain attributes of ``module``."""
    new = Passthrough()
    for name, value in vars(module).items():
        if name not in vars(new) and isinstance(value, (int, float, bool, str, type(None))):
            new.__dict__[name] = value
    return new


def _carry_hooks(old: nn.Module, new: nn.Module) -> None:
    """Foreign hooks go with the place in the tree."""
    for name in (
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
    ):
        vars(new)[name].update(vars(old)[name])
