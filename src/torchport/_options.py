"""The frozen options of one export, spelled out once."""

from __future__ import annotations

import inspect
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from torchport.errors import OptionError

__all__ = ["ExportOptions", "check_kinds", "check_power", "check_types", "read_options", "signature_of_export"]


_MUTANTS = 40
"""So many mutants show the power of a proof where nobody says how many."""


@dataclass(frozen=True)
class ExportOptions:
    """Every argument of ``export`` with its default; ``docs/exporting.md`` explains each."""

    output: Path
    input_example: Any = None
    output_example: Any = None
    verbose: bool = False
    export_params: bool = True
    do_constant_folding: bool = True
    keep_initializers_as_inputs: bool = False
    onnx_opset_version: int | None = None
    try_script: bool = False
    set_eval: bool = True
    check_trace: bool | Sequence[Any] = False
    use_dynamic_axes: bool = True
    dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None
    check_tolerance: float = 0.01
    verify: bool = True
    overwrite: bool = False
    strategy: str = "auto"
    """``auto``, or the one strategy to use: ``trace``, ``torch_export``, ``script``."""
    keep_rejected: bool = False
    """Leave an artifact that failed its proof beside ``output`` as ``*.rejected``."""
    allow_ties: bool = False
    """Accept another index where two scores tie."""
    power: bool | int = False
    """Also measure what the proof would notice, with so many mutants of the artifact; ``True`` makes 40."""
    debug_map: str | os.PathLike[str] | None = None
    """Also write this JSON file: the module, source file and line of every node of the artifact."""
    reproduction: str | os.PathLike[str] | None = None
    """Where a proof fails, write a small reproduction of the first wrong node into this directory."""
    prepare_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further keywords: they reach ``_prepare_for_export``."""

    @property
    def mutants(self) -> int:
        """How many mutants ``power`` asks for."""
        return _MUTANTS if self.power is True else int(self.power)


def signature_of_export(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function that takes the options as keywords: what it spells out itself, then each option with its default.

    Args:
        function: It ends in ``**arguments``, which become the options; further keywords reach ``_prepare_for_export``.
    """
    own = inspect.signature(function)
    hints = get_type_hints(ExportOptions)
    given = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(ExportOptions)
        if field.name not in own.parameters and field.name != "prepare_kwargs"
    ]
    rest = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD, annotation=Any)
    return own.replace(parameters=[*given, *options, rest])


def read_options(output: str | os.PathLike[str], arguments: Mapping[str, Any]) -> ExportOptions:
    """The options of a call; names that are no argument of ``export`` are kept for ``_prepare_for_export``.

    Args:
        output: The path to write.
        arguments: The keywords of the call.

    Raises:
        OptionError: An argument is of the wrong kind.
    """
    known = {field.name for field in fields(ExportOptions)} - {"output", "prepare_kwargs"}
    further = {name: value for name, value in arguments.items() if name not in known}
    if not isinstance(output, (str, os.PathLike)):
        raise OptionError("output is a path", where="output", found=type(output).__qualname__, expected="a str or a pathlib.Path")
    options = ExportOptions(
        output=Path(os.fspath(output)), prepare_kwargs=further, **{name: value for name, value in arguments.items() if name in known}
    )
    check_kinds(options)
    return options


def check_kinds(options: ExportOptions) -> None:
    """Arguments of the wrong kind are refused here, by name, before they fail somewhere with another name.

    Raises:
        OptionError: One is.
    """
    tolerance: Any = options.check_tolerance
    if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real) or not float(tolerance) > 0:
        raise OptionError("check_tolerance is a relative tolerance", where="check_tolerance", found=tolerance, expected="a number above 0")
    for one in fields(options):
        value = getattr(options, one.name)
        if isinstance(one.default, bool) and isinstance(value, str):  # "no" would be taken for yes
            raise OptionError(f"{one.name} is a switch", where=one.name, found=repr(value), expected="True or False")
    strategy: Any = options.strategy
    if not isinstance(strategy, str):
        raise OptionError("strategy is the name of one", where="strategy", found=strategy, expected="'auto', or a strategy's name")
    if not isinstance(options.check_trace, (bool, list, tuple)):
        raise OptionError(
            "check_trace is a switch or a list of examples",
            where="check_trace",
            found=type(options.check_trace).__qualname__,
            expected="True, False or [example, …]",
        )
    for name in ("debug_map", "reproduction"):
        path = getattr(options, name)
        if path is not None and not isinstance(path, (str, os.PathLike)):
            raise OptionError(f"{name} is a path", where=name, found=type(path).__qualname__, expected="a str or a pathlib.Path")
    check_power(options.power)
    if options.power and not options.verify:
        raise OptionError("power is that of the proof, which verify=False leaves out", where="power", found=options.power, expected="False")
    axes: Any = options.dynamic_axes
    if axes is not None and not (isinstance(axes, Mapping) and all(isinstance(one, (Mapping, list, tuple)) for one in axes.values())):
        raise OptionError(
            "dynamic_axes goes by port",
            where="dynamic_axes",
            found=options.dynamic_axes,
            expected="{name: {axis: symbol}} or {name: [axis]}",
        )
    for name, one in (axes or {}).items():
        for axis, symbol in one.items() if isinstance(one, Mapping) else ():
            if isinstance(axis, str) and isinstance(symbol, str):
                raise OptionError(
                    "an axis of dynamic_axes goes by its number",
                    where=f"dynamic_axes[{name!r}]",
                    found=repr(dict(one)),
                    expected=f"{{{int(axis) if axis.lstrip('-').isdigit() else 0}: {symbol!r}}}",
                )
            if isinstance(axis, int) and isinstance(symbol, int):
                raise OptionError(
                    "the symbol of a dynamic axis is a name",
                    where=f"dynamic_axes[{name!r}][{axis}]",
                    found=repr(symbol),
                    expected="a text, like 'batch'",
                    hint="an axis of a fixed size is left out",
                )


def check_types(**types: Any) -> None:
    """Refuses types that do not go by port: ``check_types(input_types=…, output_types=…)``.

    Raises:
        OptionError: Some do not.
    """
    for argument, found in types.items():
        if found is not None and not isinstance(found, Mapping):
            raise OptionError(f"{argument} goes by port", where=argument, found=found, expected='a dict: {"x": "batch 80 time"}')


def check_power(power: Any) -> None:
    """Refuses what is neither a switch nor a number of mutants.

    Raises:
        OptionError: It is neither.
    """
    if not isinstance(power, int) or power < 0:
        raise OptionError(
            "power is a switch or a number of mutants", where="power", found=power, expected="True, False or a number above 0"
        )
