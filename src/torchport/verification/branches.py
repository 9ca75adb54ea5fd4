"""Sees which ways a model's own Python code takes: one never taken may hang on a size that no comparison showed (``math.log2(n) > 9``)."""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import linecache
import math
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from dis import Positions
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

from torchport.verification.conditions import is_a_check, is_caught, may_hang_on_a_size
from torchport.verification.noted_sizes import BRANCH, Decision, Log

__all__ = ["Branch", "BranchWatch", "Branches"]

Tracer = Callable[[FrameType, str, Any], Any]

_TORCH = str(Path(torch.__file__).parent)
_PACKAGE = str(Path(__file__).parents[1])
_MODELS = str(Path(__file__).parents[1] / "models")
_LIBRARY = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))

_LARGEST = 2**20
"""A number above this is no size that anybody tries."""

_MANY = 64
"""A table with more keys than this is data."""

_NESTED = 2
"""So deep in settings that a module holds numbers are looked for."""


@dataclass(frozen=True)
class Branch:
    """A place that decides, and went one way only.

    Attributes:
        file: Where it stands.
        line: Where it stands.
        of_a_module: Whether it is a module's, or a user's own: elsewhere in what is installed, much decides by kinds and counts.
    """

    file: str
    line: int
    of_a_module: bool = True


@dataclass
class _Function:
    """A function of the model's own code, as far as it was run."""

    jumps: dict[int, Positions]
    ways: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    judged: set[int] = field(default_factory=set)
    numbers: frozenset[int] = frozenset()
    of_a_module: bool = True


class Branches:
    """What is known of the branches of a model's own code, over all its runs."""

    def __init__(self) -> None:
        self._functions: dict[CodeType, _Function] = {}

    def watched(self) -> BranchWatch:
        """A context to run the model in."""
        return BranchWatch(self._functions)

    def one_way(self) -> list[Branch]:
        """The branches that may hang on a size, and went one way in every run."""
        found = []
        for code, function in self._functions.items():
            for at, place in function.jumps.items():
                if len(function.ways.get(at, ())) == 1:
                    found.append(Branch(code.co_filename, place.lineno or 0, function.of_a_module))
        return found

    def settle(self, noted: Iterable[tuple[str, int]]) -> None:
        """Follows no longer what is noted as a comparison of a size in one of these lines."""
        known = set(noted)
        for code, function in self._functions.items():
            for at, place in list(function.jumps.items()):
                if any((code.co_filename, line) in known for line in _lines(place)):
                    del function.jumps[at]

    def numbers_near(self, places: Iterable[tuple[str, int]]) -> list[int]:
        """The whole numbers that a model's functions hold, or read from their module, their object and its settings.

        Those of the functions around some lines come first, then others of the same files.
        """
        known = set(places)
        around: set[int] = set()
        beside: set[int] = set()
        for code, function in self._functions.items():
            lines = [line for file, line in known if file == code.co_filename]
            if any(code.co_firstlineno <= line <= _last_line(code) for line in lines):
                around |= function.numbers
            elif lines:
                beside |= function.numbers
        return [*sorted(around), *sorted(beside - around)]


class BranchWatch:
    """Within this context the ways that the model's own code takes are noted; a tracer that was there is put back.

    Only what is not settled is followed: a second run of most models is not. A function that is reached only then is reached by a branch
    that is followed, or by a comparison that is noted.
    """

    def __init__(self, functions: dict[CodeType, _Function]) -> None:
        self._functions = functions
        self._ways: defaultdict[tuple[CodeType, int], set[int]] = defaultdict(set)
        self._packages: set[str] = set()
        self._before: Any = None
        self._follows = False

    def __enter__(self) -> BranchWatch:
        self._follows = not self._functions or any(function.jumps for function in self._functions.values())
        if self._follows:
            self._before = sys.gettrace()
            sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        if self._follows:
            sys.settrace(self._before)

    def decisions(self) -> Log:
        """Which way each branch went that is followed still, as decisions without a gap."""
        found: Log = {}
        for (code, at), ways in self._ways.items():
            place = self._functions[code].jumps.get(at)
            if place is not None:
                site = (code.co_filename, place.lineno, (BRANCH, (code.co_name, at)), None)
                found[site] = [Decision(0.0, way > at + 2) for way in sorted(ways)]
        return found

    def _called(self, frame: FrameType, event: str, _: Any) -> Tracer | None:
        code = frame.f_code
        function = self._functions.get(code)
        if function is None:
            if not self._is_own(frame):
                return None
            function = self._functions[code] = _Function(_jumps(code))
            function.numbers = _numbers(code, frame)
            function.of_a_module = not _installed_package(code.co_filename) or isinstance(_owner(frame), torch.nn.Module)
        if not function.jumps:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return _Follower(function, self._ways).step

    def _is_own(self, frame: FrameType) -> bool:
        """Whether a function is of the model: what is installed counts from its first module on, so that solvers and the like do not."""
        file = frame.f_code.co_filename
        if not _may_be_own(file):
            return False
        package = _installed_package(file)
        if package and package not in self._packages and isinstance(_owner(frame), torch.nn.Module):
            self._packages.add(package)
        return not package or package in self._packages


class _Follower:
    """Follows one call of a function."""

    def __init__(self, function: _Function, ways: defaultdict[tuple[CodeType, int], set[int]]) -> None:
        self._function = function
        self._ways = ways
        self._jump: int | None = None

    def step(self, frame: FrameType, event: str, _: Any) -> Tracer:
        """Called before each instruction."""
        if event != "opcode":
            return self.step
        function, at = self._function, frame.f_lasti
        if self._jump is not None:
            function.ways[self._jump].add(at)
            self._ways[frame.f_code, self._jump].add(at)
            self._jump = None
        if at in function.jumps:
            if at not in function.judged:
                function.judged.add(at)
                place = function.jumps[at]
                checked = is_a_check(frame.f_code, _lines(place)) and not is_caught(_callers(frame))
                if checked or not may_hang_on_a_size(_condition(frame.f_code.co_filename, place), frame):
                    del function.jumps[at]
                    return self.step
            self._jump = at
        return self.step


@functools.lru_cache(maxsize=4096)  # asked at every call of any function
def _installed_package(file: str) -> str:
    """The installed package that a file is of; empty where it is nobody's."""
    _, found, inside = file.rpartition("site-packages/")
    return inside.partition("/")[0] if found else ""


def _owner(frame: FrameType) -> Any:
    """What a method is called on."""
    return frame.f_locals.get(frame.f_code.co_varnames[0]) if frame.f_code.co_argcount else None


@functools.lru_cache(maxsize=4096)  # asked at every call of any function
def _callers(frame: FrameType) -> Iterator[FrameType]:
    """The frames of the model's own code that led to one, up to the call by this library."""
    above = frame.f_back
    while above is not None and (_may_be_own(above.f_code.co_filename) or not above.f_code.co_filename.startswith(_PACKAGE)):
        if _may_be_own(above.f_code.co_filename):
            yield above
        above = above.f_back


def _may_be_own(file: str) -> bool:
    """Whether a file is of the model, or of a library that it stands on and that is not torch."""
    if file.startswith(("<", _TORCH)):
        return False
    if file.startswith(_PACKAGE):
        return file.startswith(_MODELS)
    return "site-packages" in file or not file.startswith(_LIBRARY)


def _jumps(code: CodeType) -> dict[int, Positions]:
    """The instructions that decide by a truth value, with where in the source that value is made: by the instruction before."""
    found = {}
    place: Positions | None = None
    for one in dis.get_instructions(code):
        decides = one.opname.startswith(("POP_JUMP", "JUMP_IF")) and not one.opname.endswith("NONE")
        if decides and place is not None and place.lineno is not None:
            found[one.offset] = place
        place = one.positions
    return found


def _condition(file: str, place: Positions) -> ast.expr | None:
    """What is decided by, read from its source; ``None`` where there is none."""
    first, last, start, end = place.lineno, place.end_lineno, place.col_offset, place.end_col_offset
    if first is None or last is None or start is None or end is None:
        return None
    lines = [linecache.getline(file, line).encode() for line in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    try:
        return ast.parse(b"(" + b"".join(lines) + b")", mode="eval").body
    except (SyntaxError, ValueError):
        return None


def _lines(place: Positions) -> range:
    return range(place.lineno or 0, (place.end_lineno or place.lineno or 0) + 1)


def _last_line(code: CodeType) -> int:
    return max((line for _, _, line in code.co_lines() if line is not None), default=code.co_firstlineno)


def _numbers(code: CodeType, frame: FrameType) -> frozenset[int]:
    """The numbers in a function's code, and in what it reads by name from its module, its object and the settings that this holds."""
    owner = _owner(frame)
    attributes = vars(owner) if isinstance(owner, torch.nn.Module) else {}
    read = [space[name] for name in code.co_names for space in (frame.f_globals, attributes) if name in space]
    names = (*code.co_names, *(one for one in code.co_consts if isinstance(one, str)))
    spaces = read
    for _ in range(_NESTED):  # self.settings.encoder.limit, self.settings["limit"]
        spaces = [found for one in spaces for name in names if (found := _entry(one, name)) is not None]
        read = [*read, *spaces]
    return frozenset(one for value in (*code.co_consts, *read) for one in _whole(value) if 1 < one <= _LARGEST)


def _entry(space: Any, name: str) -> Any:
    """What an object or a mapping holds under a name; ``None`` where it holds nothing, or says so in its own way."""
    if inspect.ismodule(space) or isinstance(space, type):
        return None
    try:
        return space.get(name) if isinstance(space, Mapping) else vars(space).get(name)
    except Exception:  # noqa: BLE001 - objects without attributes; settings with holes, which raise what they like
        return None


def _whole(value: Any) -> Iterable[int]:
    """The whole numbers that a value is or holds; a real number stands for the whole one below it."""
    if isinstance(value, (tuple, list, set, frozenset, Mapping, range)):
        yield from (int(one) for one in value if _is_number(one)) if len(value) <= _MANY else ()
    elif _is_number(value):
        yield int(value)


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))
