"""Every rule, once in each direction, and that no rule is without a test."""

import itertools

import pytest
from contract_makers import contract
from hypothesis import given, settings
from hypothesis import strategies as st

from torchport.contract import RULES, AxisTerm, Contract, PortTerm, SizeRange, diff
from torchport.errors import UnknownNameError

X = "x: float32 [batch 80 time]"
Y = "y: float32 [batch 10]"
DIGESTS = {"weights": "a" * 64, "graph": "b" * 64, "artifact": "c" * 64}

CASES = [
    ("input-removed", contract(f"{X}; n: int64 [batch]"), contract(X)),
    ("input-added", contract(X), contract(f"{X}; n: int64 [batch]")),
    ("optional-input-removed", contract(f"{X}; n?: int64 [batch]"), contract(X)),
    ("optional-input-added", contract(X), contract(f"{X}; n?: int64 [batch]")),
    ("input-renamed", contract(X), contract("mel: float32 [batch 80 time]")),
    ("input-order-changed", contract("a: int64 [batch]; b: int64 [batch]"), contract("b: int64 [batch]; a: int64 [batch]")),
    ("input-order-changed", contract("a: int64 [batch]; b: int64 [batch]"), contract("c?: int8 [2]; a: int64 [batch]; b: int64 [batch]")),
    ("input-made-required", contract("x?: float32 [batch]"), contract("x: float32 [batch]")),
    ("input-made-optional", contract("x: float32 [batch]"), contract("x?: float32 [batch]")),
    ("input-dtype-changed", contract("x: float32 [batch]"), contract("x: float16 [batch]")),
    ("input-rank-changed", contract("x: float32 [batch 4]"), contract("x: float32 [batch 4 1]")),
    ("input-size-changed", contract("x: float32 [batch 80]"), contract("x: float32 [batch 64]")),
    ("input-size-changed", contract("x: float32 [batch 8]"), contract("x: float32 [batch time]", ranges={"time": (9,)})),
    ("input-axis-closed", contract("x: float32 [batch time]"), contract("x: float32 [batch 8]")),
    ("input-axis-opened", contract("x: float32 [batch 8]"), contract("x: float32 [batch time]")),
    ("input-axis-follows-else", contract("x: float32 [8]; z: float32 [time]"), contract("x: float32 [time]; z: float32 [time]")),
    ("input-range-narrowed", contract(X, ranges={"time": (1, 900)}), contract(X, ranges={"time": (1, 800)})),
    ("input-range-narrowed", contract(X, ranges={"time": (1,)}), contract(X, ranges={"time": (1, 800)})),
    ("input-range-narrowed", contract(X), contract(X, ranges={"time": (1, None, 4)})),
    ("input-range-widened", contract(X, ranges={"time": (9, 900)}), contract(X, ranges={"time": (1, 900)})),
    ("inputs-tied", contract("a: int8 [s]; b: int8 [t]"), contract("a: int8 [s]; b: int8 [s]")),
    ("inputs-untied", contract("a: int8 [s s]"), contract("a: int8 [s t]")),
    ("input-stated", contract("x: - -"), contract("x: float32 [batch]")),
    ("input-unstated", contract("x: float32 [batch]"), contract("x: float32 -")),
    ("input-meaning-changed", contract(f"{X} Spectrogram()"), contract(f"{X} Mel()")),
    ("output-removed", contract(X, f"{Y}; z: int8 [batch]"), contract(X, Y)),
    ("output-added", contract(X, Y), contract(X, f"{Y}; z: int8 [batch]")),
    ("output-renamed", contract(X, Y), contract(X, "scores: float32 [batch 10]")),
    ("output-order-changed", contract(X, "a: int8 [2]; b: int8 [2]"), contract(X, "b: int8 [2]; a: int8 [2]")),
    ("output-count-changed", contract(X, Y, format="torchscript"), contract(X, f"{Y}; z: int8 [batch]", format="torchscript")),
    ("output-made-optional", contract(X, "y: int8 [2]"), contract(X, "y?: int8 [2]")),
    ("output-made-required", contract(X, "y?: int8 [2]"), contract(X, "y: int8 [2]")),
    ("output-dtype-changed", contract(X, "y: float32 [2]"), contract(X, "y: float64 [2]")),
    ("output-rank-changed", contract(X, "y: float32 [2]"), contract(X, "y: float32 [2 1]")),
    ("output-size-changed", contract(X, "y: float32 [2]"), contract(X, "y: float32 [3]")),
    ("output-axis-opened", contract(X, "y: float32 [2]"), contract(X, "y: float32 [found]")),
    ("output-axis-closed", contract(X, "y: float32 [found]"), contract(X, "y: float32 [2]")),
    ("output-axis-closed-with-input", contract("x: int8 [t]", "y: int8 [t]"), contract("x: int8 [2]", "y: int8 [2]")),
    ("output-axis-opened-with-input", contract("x: int8 [2]", "y: int8 [2]"), contract("x: int8 [t]", "y: int8 [t]")),
    ("output-axis-follows-else", contract("x: int8 [t]", "y: int8 [2]"), contract("x: int8 [t]", "y: int8 [t]")),
    ("output-range-widened", contract(X, "y: int8 [found]", {"found": (0, 5)}), contract(X, "y: int8 [found]", {"found": (0, 9)})),
    ("output-range-narrowed", contract(X, "y: int8 [found]", {"found": (0, 5)}), contract(X, "y: int8 [found]", {"found": (1, 5)})),
    ("output-untied", contract(X, "y: float32 [batch time]"), contract(X, "y: float32 [batch frames]")),
    ("output-tied", contract(X, "y: float32 [batch frames]"), contract(X, "y: float32 [batch time]")),
    ("output-unstated", contract(X, Y), contract(X, "y: - [batch 10]")),
    ("output-stated", contract(X, "y: float32 -"), contract(X, Y)),
    ("output-meaning-changed", contract(X, f"{Y} LogitsType()"), contract(X, f"{Y} ProbsType()")),
    ("format-changed", contract(X), contract(X, format="openvino")),
    ("opset-raised", contract(X), contract(X, opsets={"ai.onnx": 20})),
    ("opset-lowered", contract(X), contract(X, opsets={"ai.onnx": 13})),
    ("ir-version-raised", contract(X), contract(X, ir_version=10)),
    ("ir-version-lowered", contract(X), contract(X, ir_version=7)),
    ("domain-added", contract(X), contract(X, opsets={"ai.onnx": 18, "com.microsoft": 1})),
    ("domain-removed", contract(X, opsets={"ai.onnx": 18, "ai.onnx.ml": 3}), contract(X)),
    ("symbol-renamed", contract(X), contract("x: float32 [batch 80 frames]")),
    ("symbol-renamed", contract("x: int8 [?]"), contract("x: int8 [n]", ranges={"n": (0,)})),
    ("meaning-stated", contract(X), contract(f"{X} Mel()")),
    ("meaning-unstated", contract(X, f"{Y} LogitsType()"), contract(X, Y)),
    ("model-changed", contract(X, model="a.B"), contract(X, model="a.C")),
    ("strategy-changed", contract(X, strategy="trace"), contract(X, strategy="torch_export")),
    ("writer-changed", contract(X, writer={"torch": "2.12"}), contract(X, writer={"torch": "2.13"})),
    *((f"{part}-changed", contract(X, digests=DIGESTS), contract(X, digests={**DIGESTS, part: "d" * 64})) for part in DIGESTS),
]


def ids(changes):
    return sorted(change.rule.id for change in changes)


def reversed_ids(changes):
    return sorted(change.rule.reverse for change in changes)


@pytest.mark.parametrize(("rule", "before", "after"), CASES, ids=[f"{place}-{case[0]}" for place, case in enumerate(CASES)])
def test_a_change_falls_under_its_rule_and_the_opposite_one_under_its_reverse(rule, before, after):
    found, back = diff(before, after), diff(after, before)
    assert rule in ids(found)
    assert found.verdict == (RULES[rule].grade if RULES[rule].grade != "note" else "same")
    assert ids(back) == reversed_ids(found)
    change = next(one for one in found if one.rule.id == rule)
    assert change.before != change.after
    assert (change.after, change.before) in {(one.before, one.after) for one in back}


def test_every_rule_has_a_case():
    assert {rule for rule, _, _ in CASES} == set(RULES)


def test_the_reverse_of_the_reverse_is_the_rule_and_widening_turns_into_breaking():
    for rule in RULES.values():
        opposite = RULES[rule.reverse]
        assert opposite.reverse == rule.id
        if rule.grade == "widening":
            assert opposite.grade == "breaking"
        elif rule.grade != "breaking":
            assert opposite.grade == rule.grade


def test_an_accepted_rule_is_shown_and_does_not_count():
    found = diff(contract(X), contract(X, opsets={"ai.onnx": 20}), allow=["opset-raised"])
    assert found.verdict == "same"
    assert ids(found.allowed) == ["opset-raised"]
    with pytest.raises(UnknownNameError, match=r"no such rule[\s\S]*did you mean 'opset-raised'"):
        diff(contract(X), contract(X), allow=["opset-rised"])


def test_the_worst_changes_come_first():
    found = diff(contract(X, model="a.B"), contract("x: float32 [batch 80 time]; n?: int8 [2]; m: int8 [2]", model="a.C"))
    assert [change.rule.grade for change in found] == ["breaking", "widening", "cosmetic"]
    assert found.to_dict()["verdict"] == "breaking"
    assert len(found) == 3
    assert [change.rule.id for change in found.of("widening")] == ["optional-input-added"]


def test_an_output_that_follows_an_input_is_not_reported_a_second_time_for_its_range():
    text = "y: float32 [batch time]"
    found = diff(contract(X, text, ranges={"time": (1, 900)}), contract(X, text, ranges={"time": (1, 800)}))
    assert ids(found) == ["input-range-narrowed"]


# -- what the verdict means, tried out: every call that the first contract allows is made against the second one ------------------

RANGES = {"s": SizeRange(1, 3), "t": SizeRange(2, 3), "u": SizeRange(0, 4), "v": SizeRange(2, 4, 2)}
TERMS = [AxisTerm(2), AxisTerm(3), AxisTerm(None, "s"), AxisTerm(None, "t"), AxisTerm(None, "u"), AxisTerm(None, "v"), AxisTerm()]
SIZES = range(6)


def answers(terms, known):
    """Every choice of sizes that the axes allow, with what the symbols are then."""
    for sizes in itertools.product(SIZES, repeat=len(terms)):
        symbols = dict(known)
        for term, size in zip(terms, sizes, strict=True):
            if term.size is not None:
                fits = size == term.size
            else:
                fits = term.symbol is None or (symbols.setdefault(term.symbol, size) == size and RANGES[term.symbol].allows(size))
            if not fits:
                break
        else:
            yield sizes, symbols


def breaks_a_client(before, after):
    taken = dict(answers(after[0], {}))
    for call, symbols in answers(before[0], {}):
        if call not in taken:
            return True
        expected = {sizes for sizes, _ in answers(before[1], symbols)}
        if not {sizes for sizes, _ in answers(after[1], taken[call])} <= expected:
            return True
    return False


def made(terms):
    sides = [tuple(PortTerm(f"{side}{place}", "int8", (axis,)) for place, axis in enumerate(terms[side])) for side in (0, 1)]
    used = {axis.symbol for side in terms for axis in side if axis.symbol}
    return Contract("onnx", *sides, {name: RANGES[name] for name in sorted(used)})


def terms_of(inputs, outputs):
    return st.tuples(*(st.tuples(*[st.sampled_from(TERMS)] * count) for count in (inputs, outputs)))


PAIRS = st.sampled_from([(1, 1), (2, 0), (1, 2), (2, 1), (3, 1)]).flatmap(lambda counts: st.tuples(terms_of(*counts), terms_of(*counts)))


@settings(max_examples=250, deadline=None)
@given(PAIRS)
def test_what_breaks_a_client_is_called_breaking(pair):
    found = diff(made(pair[0]), made(pair[1]))
    if breaks_a_client(*pair):
        assert found.verdict == "breaking"


@pytest.mark.parametrize("counts", [(1, 1), (2, 0), (0, 2)])
def test_what_breaks_no_client_is_not_called_breaking(counts):
    """Over all contracts of two axes; with more of them, odd exchanges are called breaking to be on the safe side."""
    sides = [list(itertools.product(TERMS, repeat=count)) for count in counts]
    every = list(itertools.product(*sides))
    wrong = [(a, b) for a, b in itertools.product(every, every) if breaks_a_client(a, b) != (diff(made(a), made(b)).verdict == "breaking")]
    assert wrong == []


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_the_opposite_change_falls_under_the_opposite_rules(pair):
    one, other = made(pair[0]), made(pair[1])
    assert ids(diff(other, one)) == reversed_ids(diff(one, other))
    assert len(diff(one, one)) == 0


@given(
    st.tuples(*[st.tuples(st.integers(0, 12), st.none() | st.integers(0, 40), st.integers(1, 6))] * 2).map(
        lambda two: tuple(SizeRange(*one) for one in two)
    )
)
def test_a_range_is_within_another_one_where_every_size_of_it_is_allowed(ranges):
    one, other = ranges
    assert one.within(other) == all(other.allows(size) for size in range(200) if one.allows(size))
