"""Which class a checkpoint may bring to life: nothing is imported because a file says so."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from torchport.errors import ArchiveError, OptionError, UntrustedClassError
from torchport.models import _zoo

if TYPE_CHECKING:
    from torchport.models.model_pt import ModelPT

__all__ = ["Trust", "class_path", "resolve_class"]

Trust: TypeAlias = "str | type | Iterable[str | type]"
"""Classes that the caller vouches for: dotted paths or the classes themselves."""


def class_path(cls: type) -> str:
    """A class's dotted path, as a checkpoint's config spells it."""
    return f"{cls.__module__}.{cls.__qualname__}"


def resolve_class(target: object, calling: type[ModelPT], trust: Trust = (), *, where: str) -> type[ModelPT]:
    """The class that a config's ``target`` means.

    In this order: the calling class and its subclasses that are imported already; the registered families; what ``trust`` names.

    Args:
        target: The config's ``target``, or ``None``.
        calling: The class that is asked to restore.
        trust: Further classes that may be imported.
        where: The archive's name, for messages.

    Raises:
        UntrustedClassError: The class is none of them.
        ArchiveError: The config names no class, or one that is not a subclass of ``calling``.
    """
    from torchport.models.model_pt import ModelPT

    trusted = dict(_named(trust))
    if target is None:
        if calling is not ModelPT:
            return calling
        raise ArchiveError("the config names no class", where=where, expected="a 'target'", hint="call it on the model's own class")
    if not isinstance(target, str):
        raise ArchiveError("the config's 'target' is not a class's name", where=where, found=repr(target)[:200])
    imported = [cls for cls in _with_subclasses(calling) if class_path(cls) == target and cls is not ModelPT]
    if imported:
        return calling if calling in imported else imported[-1]  # the newest, where a notebook has defined it again
    family = _zoo.family_of_target(target)
    if family is not None:
        found: object = family.load()
    elif target in trusted:
        found = trusted[target] or _imported(target, where)
    elif any(class_path(cls) == target for cls in _with_subclasses(ModelPT)):
        raise ArchiveError(
            "the config names another model",
            where=where,
            found=target,
            expected=f"a {class_path(calling)}",
            hint="call it on that class or on ModelPT, or give a config of your own",
        )
    else:
        raise UntrustedClassError(
            "the config names a class that is not trusted; it was not imported",
            where=where,
            found=target,
            expected=f"a registered model, or a subclass of {calling.__name__}",
            hint=f"if you know who made this file: trust={target!r}",
        )
    if not (isinstance(found, type) and issubclass(found, calling)):
        raise ArchiveError("the config names another model", where=where, found=target, expected=f"a {class_path(calling)}")
    return found


def _named(trust: Trust) -> Iterator[tuple[str, type | None]]:
    if isinstance(trust, str | type):
        trust = (trust,)
    if not isinstance(trust, Iterable):
        raise OptionError("trust has the wrong type", stage="load", found=repr(trust), expected="the name of a class, a class, or several")
    for item in trust:
        if isinstance(item, type):
            yield class_path(item), item
        elif isinstance(item, str):
            yield item.replace(":", "."), None
        else:
            raise OptionError(
                "trust names something else than a class", stage="load", found=repr(item), expected="the name of a class, or a class"
            )


def _with_subclasses(cls: type[ModelPT]) -> Iterator[type[ModelPT]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _with_subclasses(child)


def _imported(target: str, where: str) -> object:
    """Imports what the caller vouched for: the longest module path that exists, then the class in it."""
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            found: object = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
                continue
            raise ArchiveError("the trusted class cannot be imported", where=where, found=f"{type(error).__name__}: {error}") from error
        except Exception as error:
            raise ArchiveError("the trusted class cannot be imported", where=where, found=f"{type(error).__name__}: {error}") from error
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found
    raise ArchiveError("the trusted class cannot be imported", where=where, found=f"no module {parts[0]!r}")
