"""The reference: what the untouched model answers, over the sizes that it answers, with how far rounding alone moves it."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from torchport._options import ExportOptions
from torchport.errors import ReferenceRunError, TorchportError
from torchport.ports import Signature
from torchport.ports.extremes import EXTREMES
from torchport.ports.limits import Limits
from torchport.verification._memory import hand_back
from torchport.verification._records import Array, Case, Refusal, sizes_text
from torchport.verification.arrays import to_arrays, to_tensor
from torchport.verification.asking import Asker, Settled
from torchport.verification.comparison import compare
from torchport.verification.counters import FAR_COUNTS, KeptNumbers
from torchport.verification.forks import lines_both_ways, lines_scaling, lines_turned
from torchport.verification.noise import Call, Noise, measure_noise, noise_of_extremes
from torchport.verification.outputs import settle_outputs
from torchport.verification.past_values import settle_values
from torchport.verification.refusals import settle_sizes
from torchport.verification.runtimes._base import shortened
from torchport.verification.sizes import cover, traced_sizes
from torchport.verification.tolerance import MULTIPLE, WEAK, tolerance_of

__all__ = ["Reference", "take_reference"]


@dataclass(frozen=True)
class Reference:
    """What an artifact is held against.

    Attributes:
        signature: The ports with the ranges, merged symbols and output axes that were found.
        example: The traced example, by input name.
        traced: The traced sizes, by symbol.
        cases: What the model answers: the traced example first, then the covering sizes, then the caller's further examples.
        noise: Rounding noise of each output, relative to its scale.
        noise_source: ``double`` or ``jitter``; see `measure_noise`.
        empty: A case with a row that a mask hides as a whole: a difference there is a limit to be told, not a fault.
        refusals: Sizes that the model refuses: the artifact must not answer them.
        ranges: Symbol to the range found, where the model does not answer all that its port declares.
        limits: Sizes outside of which the model was found to refuse, for the artifact to keep.
        merged: Symbol to the one that it was merged into.
        pointers: Inputs whose whole numbers point into the axes of a symbol.
        output_example: What the caller says the model answers, checked against the model.
        output_example_case: The index in ``cases`` of what ``output_example`` answers.
        must_check: The caller asked for the example to be checked (``check_trace``, ``output_example``), whatever ``verify`` says.
        notes: What the user should know.
        lines_both_ways: File and line of decisions on sizes that the cases take both ways.
        lines_scaling: File and line where torch resizes an axis by a scale that is no whole number.
        cpu_seconds: CPU time it took.
        declared: The ports as they were declared, before axes were merged and named by what they do.
        call: The model; it answers as the reference only while nothing has prepared it, so `answers_as_before` comes first.
        untouched: A context within which ``call`` is the untouched model again, whatever has prepared it since.
    """

    signature: Signature
    example: Mapping[str, torch.Tensor] = field(repr=False)
    traced: Mapping[str, int]
    cases: tuple[Case, ...] = field(repr=False)
    noise: Mapping[str, float]
    noise_source: str = "double"
    empty: Case | None = field(default=None, repr=False)
    refusals: tuple[Refusal, ...] = ()
    ranges: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    merged: Mapping[str, str] = field(default_factory=dict)
    pointers: Mapping[str, str] = field(default_factory=dict)
    output_example: Mapping[str, Array] | None = field(default=None, repr=False)
    output_example_case: int = 0
    must_check: bool = False
    notes: tuple[str, ...] = ()
    lines_both_ways: frozenset[tuple[str, int]] = frozenset()
    lines_scaling: frozenset[tuple[str, int]] = frozenset()
    cpu_seconds: float = 0.0
    declared: Signature | None = field(default=None, repr=False)
    call: Call | None = field(default=None, repr=False, compare=False)
    untouched: Callable[[], AbstractContextManager[object]] = field(default=contextlib.nullcontext, repr=False, compare=False)
    _measured: dict[int, tuple[Case, Mapping[str, float]]] = field(default_factory=dict, repr=False, compare=False)

    def tolerance(self, output: str) -> float:
        """The tolerance of an output, relative to its scale."""
        return tolerance_of(str(self.cases[0].outputs[output].dtype), self.noise.get(output, 0.0))

    def tolerance_at(self, case: Case, output: str) -> float:
        """The tolerance of an output at one case: infinite where rounding alone decides what the model answers there.

        At extreme values it takes several runs of the untouched model to say, once a case: ask where `tolerance` does not do.
        """
        own = self._noise_at(case).get(output, 0.0)
        if own > WEAK:
            return float("inf")
        return max(self.tolerance(output), tolerance_of(str(case.outputs[output].dtype), own))

    def _noise_at(self, case: Case) -> Mapping[str, float]:
        """The model's rounding noise at the very values of a case, where they are extreme, relative to each output's scale."""
        if case.label not in EXTREMES or self.call is None:
            return {}
        if id(case) not in self._measured:
            with self.untouched(), _seeded(0):
                self._measured[id(case)] = (case, noise_of_extremes(self.call, case))
        return self._measured[id(case)][1]

    def check_first_run(self) -> None:
        """Asks a model that is as it was found for another case than the reference began with.

        Raises:
            ReferenceRunError: Its answer is another: its first input sets something that later ones are answered by.
        """
        case = _telling(self.cases)
        if case is not self.cases[0] and not self.answers_as_before(case):
            raise ReferenceRunError(
                "the model keeps something from its first run: what it is asked first changes what it answers later",
                where=sizes_text(case.sizes),
                hint="run the model once on real data before the export, or set in __init__ what its first run sets",
            )

    def answers_as_before(self, case: Case) -> bool:
        """Whether the model at hand still gives the reference's answer to ``case``: swaps and hooks may have changed it since."""
        if self.call is None:
            return False
        try:
            with _seeded(0), torch.no_grad():
                outputs = to_arrays(self.call({name: to_tensor(array) for name, array in case.inputs.items()}))
        except Exception:  # noqa: BLE001 - a prepared model may fail in any way; it is then no reference
            return False
        return outputs.keys() == case.outputs.keys() and all(
            compare(case.outputs[name], outputs[name], self.tolerance(name)).kind is None
            or self.tolerance_at(case, name) == float("inf")
            or compare(case.outputs[name], outputs[name], self.tolerance_at(case, name)).kind is None
            for name in outputs
        )


def take_reference(
    call: Call,
    signature: Signature,
    example: Mapping[str, torch.Tensor],
    options: ExportOptions,
    *,
    further_examples: Sequence[Mapping[str, torch.Tensor]] = (),
    output_example: Mapping[str, torch.Tensor] | None = None,
    given_example: Mapping[str, torch.Tensor] | None = None,
    least: int | None = None,
    counters: KeptNumbers | None = None,
) -> Reference:
    """Runs the untouched model over the covering sizes.

    Args:
        call: The model: flat tensors to flat tensors.
        signature: Its resolved ports.
        example: The example that is traced.
        options: ``verify``, ``check_trace`` and ``check_tolerance`` are read.
        further_examples: Further examples of the caller, at any sizes.
        output_example: What the caller says the model answers to ``given_example``.
        given_example: The caller's own example, where another one is traced.
        least: Try at least so many combinations of sizes; ``None``: as `cover` has it.
        counters: The numbers that the model keeps; they are written to, and whoever calls puts them back.

    Returns:
        The reference. With ``options.verify`` off it holds the examples only.

    Raises:
        ReferenceRunError: The model fails, is random, keeps a counter, refuses sizes by a rule that cannot be stated, or does not
            answer what ``output_example`` says.
        PortValueError: An output breaks its declaration.
    """
    start = time.process_time()
    asker = Asker(call, example)
    with _seeded(0):
        traced = traced_sizes(signature, {name: tensor.shape for name, tensor in example.items()})
        first = _run_example(asker, example, traced, "example")
        decided = asker.decided[tuple(traced.items())]
        settled = Settled(signature, traced)
        driven: list[Case] = []
        empty: Case | None = None
        if options.verify:
            settled = settle_sizes(asker, signature, traced, least=least, forgiving=bool(further_examples))
            driven, empty = settle_values(asker, settled) if settled.cases else ([], None)
        examples = [_run_example(asker, one, _sizes(settled, one), f"check_trace[{index}]") for index, one in enumerate(further_examples)]
        given: list[Case] = []
        if given_example is not None and any(not torch.equal(given_example[name], example[name]) for name in example):
            given = [_run_example(asker, given_example, _sizes(settled, given_example), "input_example")]
    cases = [_renamed(first, settled.traced), *settled.cases, *given, *examples, *driven]
    cases = [replace(case, turned=lines_turned(asker.decided.get(tuple(case.sizes.items()), {}), decided)) for case in cases]
    stated = None if output_example is None else to_arrays(output_example)
    place = 1 + len(settled.cases) if given else 0
    if stated is not None:
        _check_stated(stated, cases[place], options.check_tolerance)
    _check_repeats(asker, _telling(cases), counters if options.verify else None)
    unproved = [] if options.verify else _another(asker, settled)
    settled.signature, notes = settle_outputs(settled.signature, [*cases, *unproved])
    noise = _noise(asker.run, cases) if options.verify else Noise(dict.fromkeys(first.outputs, 0.0), "double")
    hand_back()
    return Reference(
        signature=settled.signature,
        example=example,
        traced=settled.traced,
        cases=tuple(cases),
        noise=noise.by_output,
        noise_source=noise.source,
        empty=empty,
        refusals=tuple(settled.refusals),
        ranges=settled.ranges,
        limits=settled.limits(signature),
        merged=settled.merged,
        pointers=asker.pointers,
        output_example=stated,
        output_example_case=place,
        must_check=bool(options.check_trace) or stated is not None,
        notes=(*settled.notes, *notes, *_noise_notes(noise), *_power_notes(cases)),
        lines_both_ways=lines_both_ways(asker.decided),
        lines_scaling=lines_scaling(asker.decided),
        cpu_seconds=time.process_time() - start,
        declared=signature,
        call=call,
    )


def _another(asker: Asker, settled: Settled) -> list[Case]:
    """One answer at other sizes: without a proof, it still takes two to tell which output axes vary."""
    others = [
        sizes for sizes in cover(settled.signature, settled.traced) if all(sizes[name] != size for name, size in settled.traced.items())
    ]
    answers = [asker.ask(settled.signature, sizes) for sizes in others[-1:]]
    return [answer for answer in answers if isinstance(answer, Case)]


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Every random source at ``seed``; put back afterwards."""
    before, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
        random.setstate(python)
        np.random.set_state(numpy)


def _sizes(settled: Settled, example: Mapping[str, torch.Tensor]) -> dict[str, int]:
    return traced_sizes(settled.signature, {name: tensor.shape for name, tensor in example.items()})


def _renamed(case: Case, sizes: Mapping[str, int]) -> Case:
    return Case(dict(sizes), case.inputs, case.outputs, case.seed, case.label)


def _run_example(asker: Asker, example: Mapping[str, torch.Tensor], sizes: Mapping[str, int], label: str) -> Case:
    try:
        outputs = to_arrays(asker.watched(example, tuple(sizes.items())))
    except TorchportError:
        raise
    except Exception as error:
        raise ReferenceRunError(
            "the model fails on its own example",
            where=label,
            found=shortened(error),
            expected=f"an answer at {sizes_text(sizes)}",
            hint="call the model with this example yourself",
        ) from error
    return Case(sizes, to_arrays(example), outputs, 0, label)


def _check_stated(stated: Mapping[str, Array], case: Case, tolerance: float) -> None:
    """Holds the caller's ``output_example`` against what the model answers."""
    for name, expected in stated.items():
        if name not in case.outputs:
            raise ReferenceRunError(
                "output_example names an output that the model does not give", where=name, expected=", ".join(case.outputs)
            )
        difference = compare(expected, case.outputs[name], tolerance)
        if difference.kind is not None:
            raise ReferenceRunError(
                f"output_example is not what the model answers: its {difference.kind} differs",
                where=name if difference.index is None else f"{name}{list(difference.index)}",
                found=f"{difference.got} from the model",
                expected=f"{difference.expected} in output_example",
                hint="give the model's own answer in eval mode, or leave output_example out",
            )


def _check_repeats(asker: Asker, case: Case, counters: KeptNumbers | None) -> None:
    """Runs a case again, after everything else and with another seed: the answer must be the same, at other counts of runs too.

    Raises:
        ReferenceRunError: It is not: the model is random, or keeps something from run to run.
    """
    inputs = {name: to_tensor(array) for name, array in case.inputs.items()}

    def differing(seed: int, expected: Mapping[str, Array]) -> tuple[str, dict[str, Array]]:
        with _seeded(seed):
            outputs = to_arrays(asker.run(inputs))
        names = (name for name, array in outputs.items() if compare(expected[name], array, _tolerance(array)).kind is not None)
        return next(names, ""), outputs

    before = {} if counters is None else counters.read()
    name, second = differing(1, case.outputs)
    if not name:
        _check_counts(counters, before, lambda: differing(1, case.outputs)[0])
        return
    same_seed, _ = differing(1, second)
    if same_seed:
        raise ReferenceRunError(
            "the model keeps something from run to run: the same inputs give another answer",
            where=f"output {same_seed}",
            hint="make the counter or cache an input and an output, or reset it in forward",
        )
    if any(differing(seed, second)[0] for seed in (2, 3)):
        raise ReferenceRunError(
            "the model is random: another seed gives another answer",
            where=f"output {name}",
            hint="eval mode switches dropout off; make the noise an input, or leave it out of forward_for_export",
        )
    raise ReferenceRunError(
        "the model keeps something from run to run: inputs of other sizes changed its answer to the first",
        where=f"output {name}",
        hint="make the cache an input and an output, or reset it in forward",
    )


def _check_counts(counters: KeptNumbers | None, before: Mapping[str, float], differing: Callable[[], str]) -> None:
    """Asks a model that counts its runs again, at counts that no proof comes to.

    Args:
        counters: The numbers that it keeps.
        before: What they were one run ago.
        differing: Asks what was asked before; the name of an output that differs, or nothing.

    Raises:
        ReferenceRunError: It answers otherwise.
    """
    grown = [] if counters is None else counters.grown(before)
    if counters is None or not grown:
        return
    now = counters.read()
    for far in FAR_COUNTS:
        output = ""
        with contextlib.suppress(Exception):  # it was never meant to count so far
            counters.write(grown, far)
            output = differing()
        if output:
            raise ReferenceRunError(
                f"the model counts its runs, and answers otherwise later: the same inputs give another answer at a count of {far}",
                where=f"output {output}",
                found=", ".join(grown),
                hint="make the counter an input, or leave what hangs on it out of forward_for_export",
            )
    for name in grown:
        with contextlib.suppress(Exception):  # whoever asked puts the model back as a whole
            counters.write([name], now[name])


def _telling(cases: Sequence[Case]) -> Case:
    """A case that is cheap to run again and not degenerate: about half the example's work, at least a few numbers."""

    def elements(case: Case) -> int:
        return sum(array.size for array in case.inputs.values())

    wanted = elements(cases[0]) / max(1, cases[0].sizes.get("batch", 1)) / 2
    covering = [case for case in cases if not case.label] or [cases[0]]
    return min(covering, key=lambda case: (elements(case) < wanted, abs(elements(case) - wanted)))


def _tolerance(array: Array) -> float:
    return tolerance_of(str(array.dtype), 0.0)


def _noise(call: Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]], cases: Sequence[Case]) -> Noise:
    """Measures noise on a small case that is not degenerate: the cheapest with some numbers in it, or the example."""
    chosen = _telling(cases)
    with _seeded(0):
        return measure_noise(call, chosen.inputs, chosen.outputs)


def _noise_notes(noise: Noise) -> list[str]:
    notes = []
    if noise.source == "jitter":
        notes.append(f"rounding noise was measured by disturbing it, not against float64: {noise.reason}")
    notes.extend(
        f"weak: rounding alone moves output `{name}` by {value:.1e} of its scale, so that {MULTIPLE * value:.1e} of it is let pass"
        for name, value in noise.by_output.items()
        if MULTIPLE * value > WEAK
    )
    return notes


def _power_notes(cases: Sequence[Case]) -> list[str]:
    """Outputs that could not show a difference: constant ones, and two that are always equal."""
    notes = []
    names = list(cases[0].outputs)
    for name in names:
        arrays = [case.outputs[name] for case in cases if case.outputs[name].size]
        if not arrays:
            notes.append(f"weak: output `{name}` is empty at every size that was tried")
        elif sum(array.size for array in arrays) > len(arrays) and all((array == arrays[0].flat[0]).all() for array in arrays):
            notes.append(f"weak: output `{name}` is {arrays[0].flat[0]} everywhere at every size that was tried")
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            pairs = [(case.outputs[one], case.outputs[other]) for case in cases]
            if all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs):
                notes.append(f"weak: outputs `{one}` and `{other}` are equal at every size that was tried: swapping them would not be seen")
    return notes
