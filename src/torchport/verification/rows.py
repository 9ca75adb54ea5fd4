"""Is a row's answer its own? A server puts strangers' rows into one batch: alone, beside others, permuted, padded with anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from torchport.errors import RuntimeFailure
from torchport.ports import AxisKind, Port, Signature
from torchport.ports.lengths import is_length_name, nearest_data_port
from torchport.ports.masks import looks_like_mask, valid_value
from torchport.verification._records import Array, Case
from torchport.verification.arrays import to_tensor
from torchport.verification.comparison import compare
from torchport.verification.reference import Reference
from torchport.verification.runtimes._base import shortened

__all__ = ["INDEPENDENT", "rows_of"]

INDEPENDENT = "independent"
"""The verdict on an output whose rows are their own."""

_TWICE = 2.0
"""Where the model itself rounds otherwise in a batch of another size, that is once more what the artifact may differ by."""

_CASES = 3
"""So many batches are looked through for one whose rows are answered at different lengths."""

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def rows_of(run: Run, reference: Reference) -> dict[str, str]:
    """Says of every output whether its rows depend on each other, or on what stands in the padding.

    Args:
        run: The artifact, proved equal to the model.
        reference: Its ports, tolerances and cases.

    Returns:
        Output to ``independent``, to what its rows depend on, in words, or to why that could not be tried; empty where no axis is a batch.
    """
    cases = _batched(reference)
    if not cases:
        return {}
    tried = [_Rows(run, reference, case) for case in cases[:_CASES]]
    rows, case = tried[0], cases[0]
    try:
        if rows.made and rows.single:  # a row has to stand beside one that its values make longer
            rows = next((one for one in tried if one.uneven), rows)
            case = rows.case
        return {name: rows.verdict(name, whole) for name, whole in case.outputs.items()}
    except RuntimeFailure as error:
        return dict.fromkeys(case.outputs, f"could not be tried on rows of their own: {shortened(error.message, 120)}")


def _batch_axes(ports: Mapping[str, Port]) -> dict[str, int]:
    """The batch axis of each port that has one."""
    found: dict[str, int] = {}
    for name, port in ports.items():
        for index, axis in enumerate(port.axes or ()):
            if axis.dynamic and axis.kind is AxisKind.Batch:
                found.setdefault(name, index)
    return found


def _batched(reference: Reference) -> list[Case]:
    """The usual cases with several rows, of which none is degenerate, the cheapest first."""
    axes = _batch_axes(reference.signature.inputs)
    usual = [case for case in reference.cases if not case.label or case.label == "example"]
    several = [case for case in usual if axes and all(case.inputs[name].shape[index] > 1 for name, index in axes.items())]
    return sorted(several, key=lambda case: (1 in case.sizes.values(), sum(array.size for array in case.inputs.values())))


@dataclass
class _Rows:
    """One batch, taken apart."""

    run: Run
    reference: Reference
    case: Case

    def __post_init__(self) -> None:
        self.inputs = _batch_axes(self.reference.signature.inputs)
        self.outputs = _batch_axes(self.reference.signature.outputs)
        self.count = next(self.case.inputs[name].shape[index] for name, index in self.inputs.items())
        axes = (self.reference.signature.inputs[name].axes or () for name in self.inputs)
        self.single = all(axis.allows(1) for own in axes for axis in own if axis.dynamic and axis.kind is AxisKind.Batch)
        self.lengths = _lengths(self.reference.signature, self.case.inputs)
        self.answered: dict[int, Mapping[str, Array]] = {}
        taken = {axis.name for port in self.reference.signature.inputs.values() for axis in port.axes or ()}
        given = (axis for port in self.reference.signature.outputs.values() for axis in port.axes or ())
        self.made = any(axis.dynamic and axis.name not in taken for axis in given)
        """Whether an answer has an axis that no input has: values may decide how long it is."""

    def verdict(self, name: str, whole: Array) -> str:
        """What the rows of one output depend on."""
        if name not in self.outputs:
            return "one for the whole batch: it has no batch axis"
        axis = self.outputs[name]
        if whole.shape[axis] != self.count:
            return "not one for each row of the inputs"
        tolerance = _TWICE * self.reference.tolerance(name)
        last = self.count - 1
        if self.single and (off := _differs(_row(self.alone[name], axis, 0), _row(whole, axis, last), tolerance)):
            return f"depends on the other rows: alone, a row's answer is another ({off})"
        if off := _differs(np.flip(self.turned[name], axis), whole, tolerance):
            return f"depends on the order of the rows ({off})"
        if off := _differs(_row(self.repeated[name], axis, last), _row(whole, axis, last), tolerance):
            return f"depends on the other rows: beside others, a row's answer is another ({off})"
        for row in range(last if self.made and self.single else 0):
            if off := _differs(_row(self._alone(row)[name], axis, 0), _row(whole, axis, row), tolerance):
                return f"depends on the other rows: beside a longer one, a row's answer is another ({off})"
        return self._padding(name, whole, axis, tolerance)

    @property
    def alone(self) -> Mapping[str, Array]:
        """The answer to the last row by itself."""
        return self._alone(self.count - 1)

    @property
    def uneven(self) -> bool:
        """Whether a row by itself has a shorter answer than the whole batch."""
        return any(
            _row(answer[name], axis, 0).shape != _row(self.case.outputs[name], axis, row).shape
            for row, answer in enumerate(self.by_itself)
            for name, axis in self.outputs.items()
        )

    @property
    def by_itself(self) -> list[Mapping[str, Array]]:
        """The answer to each row by itself."""
        return [self._alone(row) for row in range(self.count)]

    def _alone(self, row: int) -> Mapping[str, Array]:
        if row not in self.answered:
            self.answered[row] = self.run(self._each(lambda array, axis: np.take(array, [row], axis)))
        return self.answered[row]

    @cached_property
    def turned(self) -> Mapping[str, Array]:
        """The answer to the rows in reverse order."""
        return self.run(self._each(np.flip))

    @cached_property
    def repeated(self) -> Mapping[str, Array]:
        """The answer where every row is the last one again."""
        return self.run(self._each(lambda array, axis: np.take(array, [array.shape[axis] - 1] * array.shape[axis], axis)))

    @cached_property
    def padded(self) -> Mapping[str, Array]:
        """The answer where other numbers stand past the length of each row."""
        changed = dict(self.case.inputs)
        for steps, port, time in self.lengths:
            changed[port] = _other_padding(changed[port], self.inputs[port], time, steps)
        return self.run(changed)

    def _each(self, change: Callable[[Array, int], Array]) -> dict[str, Array]:
        return {
            name: np.ascontiguousarray(change(array, self.inputs[name])) if name in self.inputs else array
            for name, array in self.case.inputs.items()
        }

    def _padding(self, name: str, whole: Array, axis: int, tolerance: float) -> str:
        """Whether what stands past a row's length changes the row's answer, up to that length where the answer has a time axis."""
        for steps, port, time in self.lengths:
            if int(steps.min()) >= self.case.inputs[port].shape[time]:
                continue
            padded = self.padded[name]
            for row in range(self.count):
                got, expected = _row(padded, axis, row), _row(whole, axis, row)
                valid = self._valid(name, axis, (port, time), int(steps[row]))
                for index, count in valid.items():
                    got, expected = np.take(got, range(count), index), np.take(expected, range(count), index)
                if off := _differs(got, expected, tolerance):
                    return f"depends on the padding: other numbers past a row's length change its answer ({off})"
        return INDEPENDENT

    def _valid(self, name: str, batch: int, data: tuple[str, int], steps: int) -> dict[int, int]:
        """How far the time axes of a row's answer count, by their index within the row: those of the data, and those made from it."""
        signature = self.reference.signature
        measured = (signature.inputs[data[0]].axes or ())[data[1]].name
        others = {axis.name for port in signature.inputs.values() for axis in port.axes or () if axis.dynamic} - {measured}
        full = self.case.inputs[data[0]].shape[data[1]]
        return {
            index - (index > batch): steps * self.case.outputs[name].shape[index] // full
            for index, axis in enumerate(signature.outputs[name].axes or ())
            if index != batch and axis.dynamic and axis.name not in others
        }


def _row(array: Array, axis: int, row: int) -> Array:
    return np.asarray(np.take(array, row, axis))


def _differs(got: Array, expected: Array, tolerance: float) -> str:
    """How the numbers that both have differ: an answer alone may be shorter, where the longest row decides how long answers are."""
    if got.ndim != expected.ndim:
        return "another rank"
    common = tuple(slice(0, min(a, b)) for a, b in zip(got.shape, expected.shape, strict=True))
    found = compare(expected[common], got[common], tolerance)
    if found.kind is None:
        return ""
    return f"off by {found.error:.1e} of its scale" if np.isfinite(found.error) else f"{found.got} for {found.expected}"


def _lengths(signature: Signature, inputs: Mapping[str, Array]) -> list[tuple[Array, str, int]]:
    """The lengths of the rows, the port that they measure, and its axis."""
    found: list[tuple[Array, str, int]] = []
    for name, array in inputs.items():
        port = signature.inputs[name]
        steps: Array | None = None
        if port.element.values == "length" or (not port.typed and is_length_name(name) and array.ndim == 1 and array.dtype.kind == "i"):
            steps = array if array.ndim == 1 and array.dtype.kind == "i" else None
        elif array.ndim == 2 and (port.element.values == "mask" or (not port.typed and looks_like_mask(to_tensor(array), name))):
            steps = (array == valid_value(to_tensor(array))[0]).sum(1)
        if steps is None:
            continue
        measured = signature.length_of(name) or nearest_data_port(dict(signature.inputs), name)
        if measured is None or measured[0] == name:
            continue
        data, time = measured
        size = inputs[data].shape[time]
        if inputs[data].dtype.kind in "fc" and int(steps.min()) > 0 and int(steps.max()) <= size and len(steps) == inputs[data].shape[0]:
            found.append((steps, data, time))
    return found


def _other_padding(array: Array, batch: int, time: int, steps: Array) -> Array:
    """The array with other numbers past each row's length."""
    changed = np.moveaxis(array.copy(), (batch, time), (0, 1))
    for row, count in enumerate(steps):
        beyond = changed[row, int(count) :]
        changed[row, int(count) :] = 1.0 - 2.0 * beyond
    return np.ascontiguousarray(np.moveaxis(changed, (0, 1), (batch, time)))
