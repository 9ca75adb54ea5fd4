"""Walks a package for what can be exported; a module that cannot be imported is part of the answer."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from torchport.errors import OptionError
from torchport.mixin import Exportable

__all__ = ["Seen", "name_of_target", "walk"]


@dataclass(frozen=True)
class Seen:
    """One module of a package.

    Attributes:
        name: Its dotted name.
        path: Its file, where it has one.
        classes: The exportable classes that it defines, in order.
        left_out: Exportable classes that are no models by themselves, with the reason.
        error: Why it could not be imported.
    """

    name: str
    path: Path | None = None
    classes: tuple[type, ...] = ()
    left_out: tuple[str, ...] = ()
    error: Exception | SystemExit | None = None

    @property
    def needs(self) -> str | None:
        """The package that the module imports and that is not installed; ``None`` where the error is the module's own."""
        missing = self.error.name if isinstance(self.error, ModuleNotFoundError) else None
        own = missing is None or missing.partition(".")[0] == self.name.partition(".")[0]
        return None if own else missing


def name_of_target(target: str, folder: Path) -> str:
    """The importable name of a package, a module or a path to one; its folder is put on ``sys.path`` where Python would not find it.

    Args:
        target: ``package``, ``package.module``, ``src/package`` or ``models.py``.
        folder: What a path is relative to, and where names are looked for last.

    Raises:
        OptionError: There is no such package.
    """
    path = folder / target
    if os.sep in target or target.endswith(".py"):
        if not (path.is_file() and path.suffix == ".py") and not path.is_dir():
            raise OptionError("there is no such package or module", where=target, found=str(path), expected="a folder or a .py file")
        base, parts = path.resolve().parent, [path.resolve().stem if path.suffix == ".py" else path.resolve().name]
        while (base / "__init__.py").is_file():
            base, parts = base.parent, [base.name, *parts]
        _importable(base)
        name = ".".join(parts)
    else:
        name, base = target, folder
        if all(part.isidentifier() for part in name.split(".")) and not _known(name.partition(".")[0]):
            _importable(folder)
    if not all(part.isidentifier() for part in name.split(".")) or not _known(name.partition(".")[0]):
        raise OptionError(
            "there is no such package",
            where=target,
            found=name,
            expected="the name of a package or module that can be imported, or a path to one",
            hint=f"install it, or run pytest where it is (now {folder})",
        )
    return name


def _known(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()


def walk(name: str) -> Iterator[Seen]:
    """The module ``name`` and, if it is a package, all below it, sorted; ``__main__`` and the package's own tests are left alone."""
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody's module may fail in any way; it is reported
        yield Seen(name, _file_of(name), error=error)
        return
    classes, left_out = [], []
    for found in dict.fromkeys(value for value in vars(module).values() if _is_exportable(value, name)):
        reason = _no_model(found)
        if reason:
            left_out.append(f"{name}.{found.__qualname__} ({reason})")
        else:
            classes.append(found)
    file = getattr(module, "__file__", None)
    yield Seen(name, Path(file) if file else None, tuple(classes), tuple(left_out))
    for below in _below(module):
        yield from walk(below)


def _file_of(name: str) -> Path | None:
    """The file of a module that could not be imported; there may be none (``package.nothing``)."""
    try:
        spec = importlib.util.find_spec(name)
    except ImportError:
        return None
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _below(module: ModuleType) -> list[str]:
    names = [one.name for one in pkgutil.iter_modules(getattr(module, "__path__", []))]
    return [f"{module.__name__}.{name}" for name in sorted(names) if not _is_script_or_test(name)]


def _is_script_or_test(name: str) -> bool:
    """Whether importing the module would run something, or is pytest's to do; models in tests are often wrong on purpose."""
    return name in ("__main__", "conftest", "tests") or name.startswith("test_") or name.endswith("_test")


def _is_exportable(value: object, module: str) -> bool:
    """Whether it is a class of a model that says what its ports are, and defined in that very module."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, type) or value.__module__ != module or not issubclass(value, torch.nn.Module):
        return False
    return issubclass(value, Exportable) or inspect.getattr_static(value, "input_types", None) is not None


def _no_model(cls: type) -> str:
    """Why no instance of the class could be exported; empty where one can."""
    if inspect.isabstract(cls):
        return "abstract"
    named = ("forward", "forward_for_export", "list_export_subnets")
    own = [inspect.getattr_static(cls, name, None) for name in named]
    inherited = [inspect.getattr_static(base, name, None) for base in (sys.modules["torch"].nn.Module, Exportable) for name in named]
    return "no forward" if all(one is None or one in inherited for one in own) else ""
