"""The config's text: what is written reads back equal."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchport.models._config import Config, leaf, leaves, replace_leaf
from torchport.models._yaml import dump, load_mapping

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"))
spelled = st.sampled_from(
    ["1e-3", "1_000", "0x1F", "010", "yes", "~", "null", "1:30", "2026-11-23", ".inf", "<<", "=", "- a", "a: b", "nemo:x", "", " ", "\x85"]
)
keys = st.text(st.characters(codec="utf-8")) | spelled | st.integers() | st.booleans()
values = st.recursive(
    scalars | spelled, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


def same(one: object, other: object) -> bool:
    """Equal, of one type, and NaN equal to NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(keys, values, max_size=6))
def test_what_is_written_reads_back_equal(config):
    assert same(load_mapping(dump(config), where="test"), config)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-05", 1e-05),
        ("5E2", 500.0),
        ("2026-11-23", "2026-11-23"),
        ("yes", True),
        ("1e", "1e"),
        (".5", 0.5),
        ("-.inf", -math.inf),
    ],
)
def test_numbers_are_read_as_people_mean_them(text, value):
    assert same(load_mapping(f"a: {text}".encode(), where="test"), {"a": value})


def test_a_byte_order_mark_and_an_empty_text_are_fine():
    assert load_mapping(b"\xef\xbb\xbfa: 1", where="test") == {"a": 1}
    assert load_mapping(b"# nothing", where="test") == {}


def test_places_in_a_config_have_dotted_paths():
    config = Config({"a": {"b": [1, {"c": 2}]}, "d": 3})
    assert dict(leaves(config)) == {"a.b.0": 1, "a.b.1.c": 2, "d": 3}
    assert (leaf(config, "a.b.1.c"), leaf(config, "a.b.7"), leaf(config, "a.x.y"), leaf(config, "d")) == (2, None, None, 3)
    plain = config.to_dict()
    replace_leaf(plain, "a.b.1.c", 5)
    replace_leaf(plain, "a.b.0", 6)
    replace_leaf(plain, "x.y", 7)
    assert plain == {"a": {"b": [6, {"c": 5}]}, "d": 3, "x": {"y": 7}}
