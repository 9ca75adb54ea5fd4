"""How a module is called with flat tensors, and what its answer is called."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torchport.errors import HookError, PortTypeError, ReferenceRunError
from torchport.ports._plain_outputs import constants_in, refuse_plain_values, same_leaves
from torchport.ports.structure import Constant, Group, Leaf, Structure, flatten, leaves, rebuild, renamed

if TYPE_CHECKING:
    import torch

__all__ = ["Arguments", "FlatCall", "OutputNames", "bind_example", "called"]


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call, taken apart.

    Attributes:
        positional: Structures of the positional arguments.
        keywords: Structures of the arguments by name.
        constants: Constant arguments that are not ``None``, by parameter: they are part of the captured program.
    """

    positional: tuple[Structure, ...]
    keywords: tuple[tuple[str, Structure], ...]
    constants: tuple[tuple[str, Any], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The flat names of the tensors, in the order of ``forward``'s parameters."""
        parts = [*self.positional, *(part for _, part in self.keywords)]
        return tuple(name for part in parts for name in leaves(part))

    def renamed(self, names: Mapping[str, str]) -> Arguments:
        """The same with other flat names."""
        return Arguments(
            tuple(renamed(part, names) for part in self.positional),
            tuple((name, renamed(part, names)) for name, part in self.keywords),
            self.constants,
        )

    def build(self, tensors: Mapping[str, torch.Tensor]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments with other tensors in the same places."""
        return [rebuild(part, tensors) for part in self.positional], {name: rebuild(part, tensors) for name, part in self.keywords}


def split_example(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Reads an example as ``torch.onnx.export`` does: positional values, a last ``dict`` by name.

    Example:
        >>> split_example({"x": 1})
        ((), {'x': 1})
        >>> split_example((1, {"y": 2}))
        ((1,), {'y': 2})
    """
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, (tuple, list)) and not hasattr(example, "_fields"):
        if example and isinstance(example[-1], dict):
            return tuple(example[:-1]), dict(example[-1])
        return tuple(example), {}
    return (example,), {}


def bind_example(
    forward: Callable[..., Any], example: Any, *, disabled: AbstractSet[str] = frozenset(), hook: str = "input_example"
) -> tuple[Arguments, dict[str, torch.Tensor]]:
    """Binds an example to ``forward`` and takes it apart.

    Args:
        forward: The bound method that is exported.
        example: The example: a tuple whose last ``dict`` is by name, a bare tensor, or a bare ``dict``.
        disabled: Parameters that a deployment has no use for; they are dropped from the example.
        hook: Where the example comes from, for messages.

    Returns:
        The arguments, and the tensors by flat name, in order.

    Raises:
        PortTypeError: The example does not fit ``forward``.
    """
    args, kwargs = split_example(example)
    kwargs = {name: value for name, value in kwargs.items() if name not in disabled}
    try:
        parameters = inspect.signature(forward)
    except (TypeError, ValueError):
        parameters = None
    tensors: dict[str, Any] = {}
    if parameters is None:
        positional = tuple(flatten(f"input_{index}", value, tensors=tensors)[0] for index, value in enumerate(args))
        keywords = tuple((name, flatten(name, value, tensors=tensors)[0]) for name, value in kwargs.items())
        return Arguments(positional, keywords), tensors
    try:
        bound = parameters.bind(*args, **kwargs)
    except TypeError as error:
        raise PortTypeError(
            f"the example does not fit {called(forward)}",
            where=hook,
            found=f"{len(args)} positional, by name: {', '.join(kwargs) or 'none'} ({error})",
            expected=f"{getattr(forward, '__name__', 'forward')}{parameters}",
            hint=_slip(kwargs, parameters.parameters) or "a tuple of positional inputs; a last dict holds inputs by name",
        ) from error
    pieces: list[Structure] = []
    named: list[tuple[str, Structure]] = []
    constants: list[tuple[str, Any]] = []
    for name, value in bound.arguments.items():
        parameter = parameters.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            pieces.extend(flatten(f"{name}_{index}", part, tensors=tensors)[0] for index, part in enumerate(value))
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            named.extend((key, flatten(key, part, tensors=tensors)[0]) for key, part in value.items() if key not in disabled)
            continue
        if name in disabled:
            value = None if parameter.default is parameter.empty else parameter.default
        structure = flatten(name, value, tensors=tensors)[0]
        if isinstance(structure, Constant) and structure.value is not None and structure.value != parameter.default:
            constants.append((name, structure.value))
        if parameter.kind is parameter.KEYWORD_ONLY or name in kwargs:
            named.append((name, structure))
        else:
            pieces.append(structure)
    if not tensors:
        raise PortTypeError(
            "the example holds no tensor",
            where=hook,
            found=repr(example)[:120],
            expected="at least one torch.Tensor",
            hint="an example is values, not sizes: torch.randn(3, 80, 37)",
        )
    return Arguments(tuple(pieces), tuple(named), tuple(constants)), tensors


def _slip(given: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> str | None:
    """The parameter that an input by an unknown name may stand for."""
    for name in given:
        near = difflib.get_close_matches(name, [one for one in parameters if one not in given], n=1)
        if name not in parameters and near:
            return f"did you mean {near[0]!r} by {name!r}?"
    return None


def called(forward: Callable[..., Any]) -> str:
    """A method in words: ``Tagger.forward``."""
    owner = getattr(forward, "__self__", None)
    name = getattr(forward, "__name__", "forward")
    return f"{type(owner).__name__}.{name}" if owner is not None else name


@dataclass(frozen=True)
class OutputNames:
    """Which tensors of an answer are outputs, under which names, in which order.

    Attributes:
        structure: The shape of the whole answer.
        picked: Pairs of the tensor's place in the answer (a flat name of ``structure``) and its output name.
        missing: Names of outputs that are ``None``: no output of the graph stands for them.
        renamed: Pairs of a key of the answer and the declared name that it goes under, where no key is a declared name.
        plain: Numbers and texts after the last declared output, which are left out.
    """

    structure: Structure
    picked: tuple[tuple[str, str], ...]
    missing: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    plain: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The output names, in order."""
        return tuple(name for _, name in self.picked)

    @classmethod
    def nothing(cls) -> OutputNames:
        """No outputs: for a call whose answer is not known yet."""
        return cls(Constant(None), ())

    @classmethod
    def of(
        cls, answer: Any, *, declared: Sequence[str] = (), disabled: AbstractSet[str] = frozenset(), where: str = "forward"
    ) -> OutputNames:
        """Names the tensors of ``answer``.

        Args:
            answer: What ``forward`` returned.
            declared: Names of ``output_types``, in order.
            disabled: Declared names that a deployment has no use for.
            where: The method, for messages.

        Raises:
            HookError: The answer has another number of parts than ``output_types`` declares, or no tensor.
            PortTypeError: An output is no tensor: a Python number, a text.
        """
        structure = _taken_apart(answer, where)
        parts = _top_level(structure)
        absent: list[str] = []
        plain: list[str] = []
        renamed: tuple[tuple[str, str], ...] = ()
        if not declared:
            pairs = [
                (key if key is not None else ("output" if len(parts) == 1 else f"output_{place}"), part)
                for place, (key, part) in enumerate(parts)
            ]
            named = [(name, part) for name, part in pairs if name not in disabled]
        elif all(key is not None for key, _ in parts) and {str(key) for key, _ in parts} & set(declared):
            _refuse_unnamed([str(key) for key, part in parts if not _is_none(part)], declared, disabled, where)
            named = [(str(key), part) for key, part in parts if key not in disabled]
        else:
            wanted = [name for name in declared if name not in disabled]
            kept = list(parts)
            while len(kept) > len(wanted) and len(kept) != len(declared) and isinstance(kept[-1][1], Constant):
                key, last = kept[-1]
                if key is not None and not _is_none(last):
                    break  # by its key it is an output, and what it is called may be a slip
                kept.pop()
                (absent if _is_none(last) else plain).append(key or f"output_{len(kept)}")
            given = [part for _, part in kept]
            if len(given) == len(wanted):
                renamed = tuple((key, name) for (key, _), name in zip(kept, wanted, strict=True) if key is not None and key != name)
            if len(given) == len(wanted):
                named = list(zip(wanted, given, strict=True))
            elif len(given) == len(declared):
                named = [(name, part) for name, part in zip(declared, given, strict=True) if name not in disabled]
            else:
                raise HookError(
                    f"{where} returned another number of outputs than output_types declares",
                    where="output_types",
                    found=f"{len(given)} outputs",
                    expected=f"{len(wanted)}: {', '.join(wanted)}",
                    hint="declare no more than it returns; disabled_deployment_output_names names what it leaves out"
                    if len(given) < len(wanted)
                    else "declare every output, in order; disabled_deployment_output_names names what deployment does not need",
                )
        refuse_plain_values(named)
        picked = [pick for name, part in named for pick in _leaf_names(name, part)]
        names = [name for _, name in picked]
        if not names or len(set(names)) != len(names):
            raise HookError(
                "two outputs have the same name"
                if names
                else "every output is disabled"
                if disabled and not named
                else f"{where} returned no tensor to export",
                where="output_types",
                found=", ".join(names or sorted(disabled)) or repr(structure.value if isinstance(structure, Constant) else answer)[:200],
                expected="one name for each tensor" if names else "a torch.Tensor, or a tuple, list or dict of them",
            )
        missing = (*(name for output, part in named for name, _ in constants_in(output, part)), *reversed(absent))
        return cls(structure, tuple(picked), missing, renamed, tuple(reversed(plain)))

    def take(self, answer: Any) -> dict[str, torch.Tensor]:
        """The outputs of an answer of the same structure, by name.

        Raises:
            ReferenceRunError: The answer's structure is another one than the example's.
        """
        structure, tensors = flatten("", answer)
        if not same_leaves(self.structure, structure):
            raise ReferenceRunError(
                "the model's answer changes its structure with its inputs",
                found=", ".join(name or "one tensor" for name in leaves(structure)),
                expected=", ".join(name or "one tensor" for name in leaves(self.structure)),
                hint="return the same number of tensors for every size, or give forward_for_export that does",
            )
        return {name: tensors[place] for place, name in self.picked}


def _is_none(part: Structure) -> bool:
    return isinstance(part, Constant) and part.value is None


def _refuse_unnamed(keys: Sequence[str], declared: Sequence[str], disabled: AbstractSet[str], where: str) -> None:
    """Outputs that have names of their own go by them, if some are declared: by place, one could pass for another."""
    unnamed = [key for key in keys if key not in declared and key not in disabled]
    if unnamed:
        left = [name for name in declared if name not in keys]
        near = difflib.get_close_matches(unnamed[0], left, n=1)
        raise HookError(
            f"{where} returned an output that output_types does not name",
            where=unnamed[0],
            found=", ".join(keys),
            expected=", ".join(declared),
            hint=f"did you mean it by {near[0]!r}?" if near else "declare it, or name it in disabled_deployment_output_names",
        )


def _taken_apart(answer: Any, where: str) -> Structure:
    try:
        return flatten("", answer)[0]
    except PortTypeError as error:
        raise PortTypeError(
            f"{where} returned something that is no output of a graph",
            where=f"output{error.where}" if not error.where or error.where.startswith("_") else error.where,
            found=error.found,
            expected="a torch.Tensor, or a tuple, list or dict of them",
            hint="return its tensors, or give forward_for_export that does",
        ) from error


def _top_level(structure: Structure) -> list[tuple[str | None, Structure]]:
    if not isinstance(structure, Group):
        return [(None, structure)]
    keys: Sequence[Any] = structure.keys if structure.keys is not None else [None] * len(structure.items)
    return [(None if key is None else str(key), item) for key, item in zip(keys, structure.items, strict=True)]


def _leaf_names(name: str, part: Structure) -> list[tuple[str, str]]:
    if isinstance(part, Leaf):
        return [(part.name, name)]
    if isinstance(part, Constant):
        return []
    keys: Sequence[Any] = part.keys if part.keys is not None else range(len(part.items))
    return [pick for key, item in zip(keys, part.items, strict=True) for pick in _leaf_names(f"{name}_{key}", item)]


@dataclass(frozen=True)
class FlatCall:
    """A function that takes flat tensors by name and gives flat tensors by name.

    Attributes:
        function: The bound method.
        arguments: Where each tensor goes.
        outputs: Where each output is found and its name.
    """

    function: Callable[..., Any]
    arguments: Arguments
    outputs: OutputNames

    def __call__(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Calls the function; the outputs by name, in order."""
        args, kwargs = self.arguments.build(tensors)
        return self.outputs.take(self.function(*args, **kwargs))

    def positional(self, native: Callable[..., Any]) -> Callable[..., Any]:
        """The same as a plain function of positional tensors, with a bare tensor for one output; `inspect.signature` shows the flat names.

        Args:
            native: The module's own ``forward``. The function takes its place on the instance, so a call of the module from within
                (``forward_for_export`` that calls ``self(...)``) means this one.
        """
        names = self.arguments.names
        inside = False

        def forward(*tensors: torch.Tensor, **others: Any) -> Any:
            nonlocal inside
            if inside:
                return native(*tensors, **others)
            inside = True
            try:
                answer = tuple(self(dict(zip(names, tensors, strict=True))).values())
                return answer[0] if len(answer) == 1 else answer
            finally:
                inside = False

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        forward.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        return forward
