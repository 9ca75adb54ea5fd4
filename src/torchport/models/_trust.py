"""Which class a checkpoint may bring to life: nothing is imported because a file says so."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from torchport.errors import ArchiveError, OptionError, UntrustedClassError
from torchport.models import _zoo

if TYPE_CHECKING:
    from torchport.models.model_pt import ModelPT

__all__ = ["Trust", "class_path", "resolve_class"]

Trust: TypeAlias = "str | type | Iterable[str | type]"
"""Classes that the caller vouches for: dotted paths or the classes themselves."""


def class_path(cls: type) -> str:
    """A class's dotted path, as a checkpoint's config spells it.

    A class of the script that is being run goes by the name that the script has when others import it, if it has one: in every program
    ``__main__`` is another module.
    """
    return f"{_name_of_main() if cls.__module__ == '__main__' else cls.__module__}.{cls.__qualname__}"


def _name_of_main() -> str:
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name)  # python -m package.module
    name = Path(file or "").stem
    if not name.isidentifier():
        return "__main__"  # a notebook, python -c, or a script that cannot be imported
    try:
        found = importlib.util.find_spec(name)
        same = found is not None and found.origin is not None and Path(found.origin).samefile(str(file))
    except (ImportError, ValueError, OSError):
        same = False
    return name if same else "__main__"


def resolve_class(target: object, calling: type[ModelPT], trust: Trust = (), *, where: str) -> type[ModelPT]:
    """The class that a config's ``target`` means.

    In this order: the calling class and its subclasses that are imported already; the registered families; what ``trust`` names; the
    calling class, where it has the same name in another module (it was moved, or its script was run itself when it was saved).

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
    imported = [cls for cls in _with_subclasses(calling) if target in _paths(cls) and cls is not ModelPT]
    if imported:
        return calling if calling in imported else imported[-1]  # the newest, where a notebook has defined it again
    family = _zoo.family_of_target(target)
    if family is not None:
        found: object = family.load()
    elif target in trusted:
        found = trusted[target] or _imported(target, where)
    elif any(target in _paths(cls) for cls in _with_subclasses(ModelPT)):
        raise ArchiveError(
            "the config names another model",
            where=where,
            found=target,
            expected=f"a {class_path(calling)}",
            hint="call it on that class or on ModelPT, or give a config of your own",
        )
    elif calling is not ModelPT and target.rpartition(".")[2] == calling.__qualname__:
        found = calling
    else:
        of_a_script = target.startswith("__main__.")
        raise UntrustedClassError(
            "the config names a class that is not trusted; it was not imported",
            where=where,
            found=target,
            expected=f"a registered model, or a subclass of {calling.__name__}",
            hint=f"it was saved by a script, whose name is not known: import the class from there, and give it as trust={target[9:]}"
            if of_a_script
            else f"if you know who made this file: trust={target!r}",
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
            for path in (*_paths(item), f"__main__.{item.__qualname__}"):
                yield path, item
        elif isinstance(item, str):
            yield item.replace(":", "."), None
        else:
            raise OptionError(
                "trust names something else than a class", stage="load", found=repr(item), expected="the name of a class, or a class"
            )


def _paths(cls: type) -> tuple[str, ...]:
    """What archives of this class may call it; those of a script, before its own name was saved, by ``__main__``."""
    return class_path(cls), f"{cls.__module__}.{cls.__qualname__}"


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
