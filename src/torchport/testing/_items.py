"""The tests that ``pytest --exportables`` makes: one for each exportable class and format, one for each module that cannot be imported."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from torchport._frames import last_line
from torchport.errors import HookError, NotExportableError, TorchportError
from torchport.testing._assertion import assert_exportable, suffixes_of
from torchport.testing._discovery import Seen, name_of_target, walk
from torchport.testing._failures import FormatFailure, not_exportable
from torchport.testing._making import instances_of

__all__ = ["LEFT_OUT", "collect"]

LEFT_OUT: pytest.StashKey[list[str]] = pytest.StashKey()
"""Exportable classes that are no models by themselves, with the reason."""


def collect(session: pytest.Session, targets: Sequence[str], formats: str) -> Iterator[pytest.Item]:
    """The tests of some packages.

    Args:
        session: What they belong to.
        targets: Names of packages, or paths.
        formats: Formats, separated by commas.

    Raises:
        pytest.UsageError: There is no such package or format, or nothing to test in it.
    """
    try:
        suffixes = suffixes_of([one.strip() for one in formats.split(",") if one.strip()])
        names = dict.fromkeys(name_of_target(target, session.config.invocation_params.dir) for target in targets)
    except TorchportError as error:
        raise pytest.UsageError(f"--exportables: {error}") from error
    left_out = session.config.stash.setdefault(LEFT_OUT, [])
    done: set[str] = set()
    for name in names:
        made = 0
        for seen in walk(name):
            left_out.extend(seen.left_out)
            made += len(seen.classes) + (seen.error is not None)
            if seen.name not in done and (seen.classes or seen.error is not None):
                done.add(seen.name)
                yield from _collected(
                    _Module.from_parent(
                        session, name=seen.name, nodeid=seen.name, path=seen.path or session.path, seen=seen, suffixes=suffixes
                    )
                )
        if not made:
            also = f"; left out {', '.join(left_out)}" if left_out else ""
            raise pytest.UsageError(f"--exportables: {name} has no exportable class{also}")


def _collected(module: pytest.Collector) -> list[pytest.Item]:
    """The tests of one module, announced as pytest announces those of a file: it counts them so."""
    module.ihook.pytest_collectstart(collector=module)
    report = module.ihook.pytest_make_collect_report(collector=module)
    module.ihook.pytest_collectreport(report=report)
    return [one for one in report.result if isinstance(one, pytest.Item)]


class _Module(pytest.Collector):
    """A module of the package; ``package.module`` is its node id."""

    def __init__(self, *, seen: Seen, suffixes: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seen = seen
        self.suffixes = suffixes

    def collect(self) -> Iterator[pytest.Item]:
        """One test for each class and format."""
        if self.seen.error is not None:
            yield _Broken.from_parent(self, name="import", seen=self.seen)
        for one in self.seen.classes:
            for suffix in self.suffixes:
                name = f"{one.__qualname__}[{suffix.removeprefix('.')}]"
                # The whole id is given: pytest would take the brackets for a part of the name, and not know the test again (--lf).
                yield _Exportable.from_parent(self, name=name, nodeid=f"{self.nodeid}::{name}", exported=one, suffix=suffix)


class _Test(pytest.Item):
    """A test whose failure is told in torchport's words, without a traceback."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_marker("exportable")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The error's own text; what nobody expected keeps its traceback."""
        if isinstance(excinfo.value, TorchportError) and style is None:
            notes = getattr(excinfo.value, "__notes__", ())
            return "\n".join([str(excinfo.value), *(f"  {note}" for note in notes)])
        return super().repr_failure(excinfo, style)


class _Broken(_Test):
    """A module that cannot be imported: what is in it cannot be tested, and that is said."""

    def __init__(self, *, seen: Seen, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seen = seen
        if seen.needs:  # a package of somebody else: what is optional for the models is so for their tests
            self.add_marker(pytest.mark.skip(reason=f"{seen.name} needs {seen.needs}, which is not installed"))

    def runtest(self) -> None:
        """Fails.

        Raises:
            HookError: The module cannot be imported.
        """
        error = self.seen.error
        raise HookError(
            f"{self.seen.name} cannot be imported: {type(error).__name__}: {error}",
            where=(last_line(error) if error is not None else None) or self.seen.name,
            expected="a module whose exportable classes can be tested",
        ) from error

    def reportinfo(self) -> tuple[Path, int, str]:
        """The module."""
        return self.path, 0, f"{self.name} of {self.seen.name}"


class _Exportable(_Test):
    """One class in one format."""

    def __init__(self, *, exported: type, suffix: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.exported = exported
        self.suffix = suffix

    def runtest(self) -> None:
        """Makes each instance, exports it and proves it.

        Raises:
            NotExportableError: An instance cannot be exported.
        """
        instances = instances_of(self.exported, lambda cls: self.config.hook.pytest_torchport_make(cls=cls))
        failures: list[FormatFailure] = []
        for name, instance in instances.items():
            try:
                result = assert_exportable(
                    instance, self.suffix, contract=self._snapshot(name), update_contract=self.config.getoption("--update-contracts")
                )[self.suffix]
            except NotExportableError as error:
                failures.extend(replace(one, instance=name) for one in error.failures if isinstance(one, FormatFailure))
            else:
                self.add_report_section("call", "proof", "\n".join([*result.descriptions, *result.notes]))
        if failures:
            count = f"{len(failures)} of {len(instances)} instances of " if len(instances) > 1 else ""
            raise not_exportable(f"{count}{self.exported.__qualname__}", failures)

    def _snapshot(self, instance: str) -> Path | None:
        """Where the contract of one instance is; ``None``: nobody asked for contracts."""
        asked: str | None = self.config.getoption("--contracts")
        stated: str = self.config.getini("torchport_contracts")
        if not asked and not stated:
            return None
        beside = self.config.inipath.parent if self.config.inipath else self.config.rootpath
        folder = self.config.invocation_params.dir / asked if asked else beside / stated
        names = (self.exported.__module__, self.exported.__qualname__, *([instance] if instance else []))
        return folder / f"{'.'.join(names)}{self.suffix}.contract.json"

    def reportinfo(self) -> tuple[Path, int, str]:
        """The class."""
        try:
            line = inspect.getsourcelines(self.exported)[1] - 1
        except (OSError, TypeError):
            line = 0
        return self.path, line, f"{self.name} of {self.exported.__module__}"
