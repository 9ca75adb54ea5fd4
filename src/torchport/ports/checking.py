"""``@typecheck()``: calls checked against the ports that an object declares.

There is no process-wide switch. `typecheck.disabled` switches checks off for the current thread (or task), for everything or for the
instances that it is given. While a graph is captured only names are checked: sizes are symbols then.
"""

from __future__ import annotations

import contextlib
import contextvars
import difflib
import functools
import inspect
import types
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from torchport.errors import PortTypeError, PortValueError
from torchport.ports.dtypes import known_dtype
from torchport.ports.element import ElementComparison
from torchport.ports.elements import VoidType
from torchport.ports.neural_type import NeuralType
from torchport.ports.port import Port
from torchport.ports.signature import Signature
from torchport.ports.spellings import as_port, is_port_like

__all__ = ["typecheck"]

F = TypeVar("F", bound=Callable[..., Any])

_disabled: contextvars.ContextVar[tuple[object, ...] | None] = contextvars.ContextVar("torchport_typecheck_disabled", default=())
"""The instances that are not checked in this context; ``None``: nothing is."""


class typecheck:  # noqa: N801  # a decorator, spelled as toolkits spell it
    """Checks the inputs and outputs of a method against ``input_types`` and ``output_types`` of its instance.

    Args:
        input_types: Types by parameter, in place of the instance's ``input_types``.
        output_types: Types by output, in place of the instance's ``output_types``.
        ignore_collections: Leave values that are tuples, lists or dicts of tensors unchecked.

    Raises:
        PortTypeError: When called: a value has the wrong dtype or meaning, a required input is missing, a tensor has no declared port.
        PortValueError: When called: a value has the wrong rank or size, or the number of outputs is wrong.

    Example:
        >>> class Encoder:
        ...     input_types = {"audio": NeuralType(("B", "T"))}
        ...
        ...     @typecheck()
        ...     def forward(self, audio):
        ...         return audio
    """

    def __init__(
        self, input_types: Mapping[str, Any] | None = None, output_types: Mapping[str, Any] | None = None, ignore_collections: bool = False
    ) -> None:
        self.input_types = input_types
        self.output_types = output_types
        self.ignore_collections = ignore_collections

    def __call__(self, function: F) -> F:
        """Wraps the method."""
        checker = _Checker(self, function)
        before, after = checker.before, checker.after

        def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
            state = before(self, args, kwargs)
            answer = function(self, *args, **kwargs)
            if state is not None:
                after(self, answer, state, (*args, *kwargs.values()))
            return answer

        # torch.jit.script compiles the wrapped source, and looks its names up in the globals of the wrapper.
        scoped = types.FunctionType(checked.__code__, function.__globals__, function.__name__, None, checked.__closure__)
        return cast(F, functools.wraps(function)(scoped))

    @staticmethod
    @contextlib.contextmanager
    def disabled(*instances: object) -> Iterator[None]:
        """Switches checks off in this thread or task: for these instances, or for all where none is given."""
        current = _disabled.get()
        token = _disabled.set(None if not instances or current is None else (*current, *instances))
        try:
            yield
        finally:
            _disabled.reset(token)

    disable_checks = disabled


def _capturing() -> bool:
    import torch

    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return True
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]  # public, but not listed in __all__


def _declared(instance: object, given: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
    found = given if given is not None else getattr(instance, name, None)
    if callable(found):
        found = found()
    return found if isinstance(found, Mapping) and found else None


class _Checker:
    """What one decorated method checks."""

    def __init__(self, options: typecheck, function: Callable[..., Any]) -> None:
        self.options = options
        self.signature = inspect.signature(function)
        self.name = function.__qualname__

    def before(self, instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, tuple[int, str]] | None:
        """Checks the inputs; returns the sizes seen, or ``None`` where this call is not checked."""
        if _capturing():
            return None
        off = _disabled.get()
        if off is None or any(one is instance for one in off):
            return None
        seen: dict[str, tuple[int, str]] = {}
        declared = _declared(instance, self.options.input_types, "input_types")
        try:
            bound = self.signature.bind(instance, *args, **kwargs)
        except TypeError as error:
            raise self._unbound(error, kwargs, declared) from error
        if declared is None:
            return seen
        given = self._arguments(bound)
        for name, value in given.items():
            if name in declared:
                self._check(name, value, declared[name], seen)
            elif _holds_tensor(value):
                near = difflib.get_close_matches(name, declared, n=1)
                raise PortTypeError(
                    f"{self.name} was given a tensor that input_types does not declare",
                    where=name,
                    found=_describe(value),
                    expected=", ".join(declared),
                    hint=f"did you mean {near[0]!r}?" if near else f"declare {name!r} in input_types",
                )
        for name, one in declared.items():
            parameter = self.signature.parameters.get(name)
            usual = parameter is not None and parameter.default is not inspect.Parameter.empty
            if name not in given and not _optional(one) and not usual:
                raise PortTypeError(f"{self.name} was called without an input", where=name, found="nothing", expected=_expected(one))
        return seen

    def after(self, instance: object, answer: Any, seen: dict[str, tuple[int, str]], kept: Collection[Any]) -> None:
        """Checks the outputs, and notes on each tensor what it is, save what is the caller's own (``kept``) or the model's."""
        declared = _declared(instance, self.options.output_types, "output_types")
        if declared is None:
            return
        for name, value in self._named(answer, declared).items():
            self._check(name, value, declared[name], seen)
            if not any(value is one for one in kept) and not _is_state(instance, value):
                _note(value, declared[name])

    def _arguments(self, bound: inspect.BoundArguments) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for index, (name, value) in enumerate(bound.arguments.items()):
            if index == 0:
                continue
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                given.update(value)
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                given.update({f"{name}_{place}": one for place, one in enumerate(value)})
            else:
                given[name] = value
        return given

    def _unbound(self, error: TypeError, kwargs: Mapping[str, Any], declared: Mapping[str, Any] | None) -> PortTypeError:
        known = list(self.signature.parameters)[1:]
        unknown = [name for name in kwargs if name not in known]
        near = difflib.get_close_matches(unknown[0], known, n=1) if unknown else []
        return PortTypeError(
            f"{self.name} cannot take these arguments: {error}",
            where=unknown[0] if unknown else None,
            found=", ".join(kwargs) or "positional arguments",
            expected=", ".join(declared or known),
            hint=f"did you mean {near[0]!r}?" if near else None,
        )

    def _named(self, answer: Any, declared: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(answer, Mapping) and all(isinstance(key, str) for key in answer):
            parts = dict(answer)
        elif hasattr(answer, "_fields") and set(answer._fields) <= set(declared):
            parts = dict(zip(answer._fields, answer, strict=True))
        elif isinstance(answer, (tuple, list)) and not (len(declared) == 1 and _is_collection(next(iter(declared.values())))):
            parts = dict(zip(declared, answer, strict=False)) if len(answer) <= len(declared) else {}
            if not parts and answer:
                raise self._count(len(answer), declared)
        else:
            parts = {next(iter(declared)): answer}
        missing = [name for name, one in declared.items() if name not in parts and not _optional(one)]
        if missing or set(parts) - set(declared):
            raise self._count(len(parts), declared, sorted(set(parts) - set(declared)) or [f"no {missing[0]}"])
        return parts

    def _count(self, found: int, declared: Mapping[str, Any], names: Sequence[str] = ()) -> PortValueError:
        return PortValueError(
            f"{self.name} returned other outputs than output_types declares (CONTAINER_SIZE_MISMATCH)",
            where="output_types",
            found=f"{found} outputs" + (f": {', '.join(names)}" if names else ""),
            expected=f"{len(declared)}: {', '.join(declared)}",
        )

    def _check(self, name: str, value: Any, declared: Any, seen: dict[str, tuple[int, str]]) -> None:
        if isinstance(declared, Mapping) and isinstance(value, Mapping):
            for key, one in declared.items():
                self._check(f"{name}_{key}", value.get(key), one, seen)
            return
        if isinstance(declared, (tuple, list)) and not is_port_like(declared):
            parts = value if isinstance(value, (tuple, list)) else [value]
            if len(declared) == 1 and isinstance(declared, list):
                declared = list(declared) * len(parts)
            if len(parts) != len(declared):
                raise PortValueError(
                    f"{self.name}: a collection has another size than its port declares (CONTAINER_SIZE_MISMATCH)",
                    where=name,
                    found=len(parts),
                    expected=len(declared),
                )
            for index, (part, one) in enumerate(zip(parts, declared, strict=True)):
                self._check(f"{name}_{index}", part, one, seen)
            return
        port = as_port(declared, where=name)
        if value is None:
            if not port.optional:
                raise PortTypeError(
                    f"{self.name}: a port that is not optional is None", where=name, found="None", expected=_expected(declared)
                )
            return
        if not hasattr(value, "shape"):
            if isinstance(value, (tuple, list)):
                if not self.options.ignore_collections:
                    depth = declared.list_depth if isinstance(declared, NeuralType) else 0
                    self._check_list(name, value, declared, depth, seen)
            elif port.axes or not isinstance(value, (bool, int, float, complex)):
                raise PortTypeError(
                    f"{self.name}: a port was given what is no tensor",
                    where=name,
                    found=_describe(value),
                    expected=_expected(declared),
                    hint="pass a tensor; a plain number may stand for one without axes only",
                )
            return
        _check_meaning(self.name, name, value, declared)
        _check_tensor(self.name, name, value, port, seen)

    def _check_list(self, name: str, value: Any, declared: Any, depth: int, seen: dict[str, tuple[int, str]]) -> None:
        for index, one in enumerate(value):
            if isinstance(one, (tuple, list)):
                self._check_list(f"{name}_{index}", one, declared, depth - 1, seen)
            else:
                # Items of a list have their own sizes: only what is fixed is checked.
                self._check(f"{name}_{index}", one, declared, {})


def _check_meaning(method: str, name: str, value: Any, declared: Any) -> None:
    """Compares the type that an earlier checked call noted on a tensor with the one declared here."""
    noted = getattr(value, "neural_type", None)
    if isinstance(noted, NeuralType) and isinstance(declared, NeuralType) and not isinstance(noted.elements_type, VoidType):
        verdict = declared.elements_type.compare(noted.elements_type)
        whole = declared.compare(noted)
        if whole is ElementComparison.TRANSPOSE_SAME:
            verdict = whole
        if verdict not in (ElementComparison.SAME, ElementComparison.GREATER):
            raise PortTypeError(
                f"{method}: a tensor means something else than its port ({verdict.name})",
                where=name,
                found=repr(noted),
                expected=repr(declared),
            )


def _check_tensor(method: str, name: str, value: Any, port: Port, seen: dict[str, tuple[int, str]]) -> None:
    dtype = known_dtype(value.dtype)
    kinds = port.element.kinds
    if dtype is not None and (
        (port.dtype is not None and dtype.name != port.dtype) or (port.dtype is None and kinds is not None and dtype.kind not in kinds)
    ):
        wanted = port.dtype or " or ".join(sorted(kinds or ()))
        raise PortTypeError(f"{method}: a tensor has the wrong dtype", where=name, found=dtype.name, expected=f"{wanted} ({port!r})")
    shape = tuple(int(size) for size in value.shape)
    if port.axes is None:
        return
    if len(shape) != len(port.axes):
        raise PortValueError(
            f"{method}: a tensor has the wrong rank",
            where=name,
            found=f"{len(shape)} axes: {list(shape)}",
            expected=f"{len(port.axes)} axes: {port.text or 'a scalar'}",
        )
    for index, (axis, size) in enumerate(zip(_named(name, port).axes or (), shape, strict=True)):
        if not axis.allows(size):
            raise PortValueError(
                f"{method}: a tensor has the wrong size along its {axis.words()}",
                where=f"{name}, axis {index}",
                found=f"{size} in {list(shape)}",
                expected=axis.sizes_in_words(),
            )
        if axis.dynamic and (port.axes[index].name or axis.name == "batch"):
            known, first = seen.setdefault(axis.name, (size, f"{name}, axis {index}"))
            if known != size:
                raise PortValueError(
                    f"{method}: axes of one name, {axis.name!r}, have different sizes",
                    where=f"{first}; {name}, axis {index}",
                    found=f"{known}; {size}",
                    expected="one size",
                )


@functools.lru_cache(maxsize=1024)
def _named(name: str, port: Port) -> Port:
    """The port with its axes under their symbols, as a signature names them."""
    return Signature(inputs={name: port}).inputs[name]


def _is_collection(declared: Any) -> bool:
    if isinstance(declared, NeuralType):
        return declared.list_depth > 0
    return isinstance(declared, (tuple, list)) and not is_port_like(declared)


def _optional(declared: Any) -> bool:
    if isinstance(declared, (NeuralType, Port)):
        return declared.optional
    if isinstance(declared, Mapping):
        return all(_optional(one) for one in declared.values())
    if isinstance(declared, (tuple, list)) and not is_port_like(declared):
        return all(_optional(one) for one in declared)
    return False


def _expected(declared: Any) -> str:
    return repr(declared) if isinstance(declared, NeuralType) else str(declared)


def _holds_tensor(value: Any) -> bool:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return True
    if isinstance(value, Mapping):
        return any(_holds_tensor(one) for one in value.values())
    return isinstance(value, (tuple, list)) and any(_holds_tensor(one) for one in value)


def _describe(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__


def _is_state(instance: object, value: Any) -> bool:
    """Whether an answer is a buffer of the model itself, not something that was computed."""
    buffers = getattr(instance, "buffers", None)
    return callable(buffers) and any(value is one for one in buffers())


def _note(value: Any, declared: Any) -> None:
    """Notes on a tensor what it is, so that the next checked call can compare; parameters of a model stay as they are."""
    import torch

    if isinstance(declared, NeuralType) and isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
        value.neural_type = _Note(declared.axes, declared.elements_type, declared.optional, dtype=declared.dtype)  # type: ignore[attr-defined]


class _Note(NeuralType):
    """The type on a tensor. Saved with the tensor it is plain text: a file of tensors needs no class of ours to be read."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, ([("neural_type", repr(self))],)

    def __copy__(self) -> _Note:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Note:
        return self
