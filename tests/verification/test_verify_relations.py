"""How one size bounds another: the very line is found, kept by the file, and told."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchport.ports import Signature
from torchport.ports.limits import AtMost
from torchport.verification._records import Refusal
from torchport.verification.asking import Asker, Settled
from torchport.verification.refusals import settle_sizes
from torchport.verification.relations import relation_between

PORTS = {"x": ("batch asked 2", "float32"), "y": ("batch given 2", "float32")}


class Ruled(nn.Module):
    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def forward(self, x, y):
        if not self.rule(x.shape[1], y.shape[1]):
            raise ValueError("no such sizes")
        return x.sum(1) + y.sum(1)


def asked(rule, asked, given, ports=PORTS):
    model = Ruled(rule)
    example = {"x": torch.ones(3, asked, 2), "y": torch.ones(3, given, 2)}
    signature = Signature.of(inputs=ports, outputs={"z": ("batch 2", "float32")}).resolved(inputs=example, outputs={"z": torch.ones(3, 2)})
    sizes = {"batch": 3, "asked": asked, "given": given}
    return Asker(lambda tensors: {"z": model(*tensors.values())}, example), signature, sizes


def settled(rule, x, y):
    asker, signature, sizes = asked(rule, x, y)
    return settle_sizes(asker, signature, sizes, least=None, forgiving=False)


@pytest.mark.parametrize("sizes", [(9, 31), (12, 12), (20, 15), (31, 9)])
@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (lambda a, b: a <= b, AtMost("asked", "given")),
        (lambda a, b: a < b, AtMost("asked", "given", 1, -1)),
        (lambda a, b: a <= b + 10, AtMost("asked", "given", 1, 10)),
        (lambda a, b: a <= 2 * b, AtMost("asked", "given", 2)),
        (lambda a, b: 2 * a <= b, AtMost("asked", "given", divisor=2)),
        (lambda a, b: b <= 3 * a - 1, AtMost("given", "asked", 3, -1)),
    ],
)
def test_the_line_that_bounds_a_size_is_found(rule, found, sizes):
    if not rule(*sizes):
        return
    result = settled(rule, *sizes)
    assert result.at_most == [found]
    assert result.ranges == {}
    assert result.limits(result.signature).sentences == (found.sentence,)
    assert all(rule(case.sizes["asked"], case.sizes["given"]) for case in result.cases)
    assert result.refusals
    assert not any(found.holds(one.sizes[found.small], one.sizes[found.large]) for one in result.refusals)


def test_a_band_is_two_lines():
    result = settled(lambda a, b: abs(a - b) <= 20, 37, 29)
    assert sorted(one.sentence for one in result.at_most) == ["asked must be at most given plus 20", "given must be at most asked plus 20"]


@pytest.mark.parametrize("rule", [lambda a, b: a >= 9 and b >= 5, lambda a, b: a + b >= 30, lambda a, b: a * b <= 4000])
def test_other_rules_are_no_lines(rule):
    result = settled(rule, 37, 29)
    assert result.at_most == []
    assert {"asked", "given"} >= set(result.ranges) > set()


@given(factor=st.integers(1, 3), offset=st.integers(-4, 12), divisor=st.integers(1, 3), given=st.integers(12, 30))
def test_any_such_line_is_the_one_that_is_found(factor, offset, divisor, given):
    rule = AtMost("asked", "given", factor if divisor == 1 else 1, offset, divisor)
    asker, signature, sizes = asked(lambda a, b: rule.holds(a, b), 2, given)
    found = relation_between(asker, Settled(signature, sizes), "asked", "given")
    assert found is not None
    line, refusal = found
    assert [line.greatest(size) for size in range(1, 99)] == [rule.greatest(size) for size in range(1, 99)]
    assert isinstance(refusal, Refusal)
    assert refusal.sizes["asked"] == rule.greatest(given) + 1


@pytest.mark.parametrize(
    ("rule", "ports"),
    [
        (lambda a, b: True, PORTS),  # nothing is refused
        (lambda a, b: a <= 20, PORTS),  # the other has no part in it
        (lambda a, b: a * a <= b, PORTS),  # no line
        (lambda a, b: a <= b, {**PORTS, "y": ("batch given{min=28,max=29} 2", "float32")}),  # no second point
        (lambda a, b: a <= b, {**PORTS, "x": ("batch asked{max=20} 2", "float32")}),  # no size past the line
        (lambda a, b: a <= b + 4, {**PORTS, "x": ("batch asked{multiple_of=2} 2", "float32")}),
    ],
)
def test_what_is_no_line_is_none(rule, ports):
    asker, signature, sizes = asked(rule, 4, 28, ports)
    assert relation_between(asker, Settled(signature, sizes), "asked", "given") is None


@pytest.mark.parametrize("limit", ["{max=40}", "{multiple_of=2}", "{multiple_of=4,max=400}"])
def test_a_line_is_found_within_what_is_declared(limit):
    ports = {**PORTS, "y": (f"batch given{limit} 2", "float32")}
    asker, signature, sizes = asked(lambda a, b: a <= b, 4, 28, ports)
    found = relation_between(asker, Settled(signature, sizes), "asked", "given")
    assert found is not None
    assert found[0] == AtMost("asked", "given")
    assert found[1].sizes["asked"] > found[1].sizes["given"]
