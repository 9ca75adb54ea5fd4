"""Option values that are more than one word."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchport.cli._values import read_answer, read_dynamic_axes, read_example, read_keywords, read_port_types
from torchport.errors import OptionError, PortValueError

NAMES = st.text("abcxyz_", min_size=1, max_size=6)


@settings(max_examples=30)
@given(st.dictionaries(NAMES, st.dictionaries(st.integers(-4, 4), NAMES, min_size=1), min_size=1))
def test_dynamic_axes_are_read_as_they_were_written(axes):
    texts = [f"{name}={','.join(f'{axis}:{symbol}' for axis, symbol in one.items())}" for name, one in axes.items()]
    assert read_dynamic_axes(texts) == axes


@settings(max_examples=30)
@given(st.dictionaries(NAMES, st.lists(st.integers(0, 9), unique=True), min_size=1))
def test_axes_without_symbols_are_a_list(axes):
    assert read_dynamic_axes([f"{name}={','.join(map(str, one))}" for name, one in axes.items()]) == axes


@pytest.mark.parametrize("text", ["x", "=0", "x=a", "x=0:batch,1", "x=0,0", "x=0:a,0:b"])
def test_axes_that_say_something_else_are_refused(text):
    with pytest.raises(OptionError, match="--dynamic-axes"):
        read_dynamic_axes([text])


def test_a_port_is_given_once():
    with pytest.raises(OptionError, match="every port once"):
        read_dynamic_axes(["x=0", "x=1"])
    assert read_dynamic_axes([]) is None


@pytest.mark.parametrize(
    ("text", "value"), [("a=1", 1), ("a=true", True), ("a=x y", "x y"), ("a=[1, 2]", [1, 2]), ("a=", None), ("a=b=c", "b=c")]
)
def test_keywords_are_read_as_yaml(text, value):
    assert read_keywords([text]) == {"a": value}


@pytest.mark.parametrize("text", ["a", "=1", "1a=1", "a={", "a=!!python/object/apply:os.getcwd []"])
def test_keywords_that_are_none_are_refused(text):
    with pytest.raises(OptionError, match="--set"):
        read_keywords([text])


def test_port_types_may_carry_a_dtype():
    assert read_port_types(["x=batch 80", "n=batch,int64"], "--input-type") == {"x": "batch 80", "n": ("batch", "int64")}
    with pytest.raises(OptionError, match="--input-type"):
        read_port_types(["batch 80"], "--input-type")


def test_a_comma_within_braces_parts_nothing():
    read = read_port_types(["x=batch time{min=4,max=9},float32", "y=batch time{min=4,max=9}"], "--input-type")
    assert read == {"x": ("batch time{min=4,max=9}", "float32"), "y": "batch time{min=4,max=9}"}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("x=batch 8,float33", "did you mean 'float32'?"),
        ("x=batch 8,i64", "did you mean 'int64'?"),
        ("x=batch 8,AudioSignal", None),
        ("x=batch,8,time", 'axes are parted by spaces: --input-type "x=batch 8 time"'),
        ("x=batch 8,", "leave the comma out, or name a dtype after it"),
    ],
)
def test_a_dtype_that_is_none_is_told_with_the_nearest(text, hint):
    with pytest.raises(OptionError, match="unknown element type") as caught:
        read_port_types([text], "--input-type")
    assert (caught.value.where, caught.value.found, caught.value.hint) == ("--input-type x", text, hint)


def test_a_forgotten_comma_is_told_before_anything_runs():
    with pytest.raises(PortValueError, match="a dtype stands among the axes") as caught:
        read_port_types(["x=batch 8 float32"], "--input-type")
    assert caught.value.where == "--input-type x"
    assert 'x="batch 8,float32" on the command line' in caught.value.hint


def test_arrays_by_name_and_by_place(tmp_path):
    a, b = np.arange(3.0), np.arange(4)
    np.savez(tmp_path / "named.npz", x=a, y=b)
    np.savez(tmp_path / "placed.npz", a, b)
    (named,) = read_example(tmp_path / "named.npz", "--input-example")
    assert list(named) == ["x", "y"]
    first, second = read_example(tmp_path / "placed.npz", "--input-example")
    assert first.dtype == torch.float64
    assert second.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("value", [torch.ones(2), (torch.ones(2),), [torch.ones(2)]])
def test_tensors_and_lists_of_them_are_inputs_by_place(tmp_path, value):
    torch.save(value, tmp_path / "e.pt")
    (found,) = read_example(tmp_path / "e.pt", "--input-example")
    assert found.tolist() == [1, 1]


def test_a_dict_is_inputs_by_name(tmp_path):
    torch.save({"x": torch.ones(2)}, tmp_path / "e.pt")
    assert list(read_example(tmp_path / "e.pt", "--input-example")[0]) == ["x"]


class Caller:
    def __reduce__(self):
        return (print, ("called",))


def test_a_file_that_would_call_something_is_refused(tmp_path, capsys):
    torch.save(Caller(), tmp_path / "e.pt")
    np.save(tmp_path / "e.npy", np.array([Caller()], dtype=object), allow_pickle=True)
    for name in ("e.pt", "e.npy"):
        with pytest.raises(OptionError, match="nothing else"):
            read_example(tmp_path / name, "--input-example")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "content"), [("e.txt", b""), ("e.npz", b"no zip"), ("e.pt", b"no zip"), ("gone.npz", None)])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(OptionError, match="--input-example"):
        read_example(tmp_path / name, "--input-example")


def test_an_answer_keeps_its_structure(tmp_path):
    np.save(tmp_path / "one.npy", np.ones(2))
    torch.save((torch.ones(2), torch.zeros(1)), tmp_path / "two.pt")
    assert read_answer(tmp_path / "one.npy", "--output-example").shape == (2,)
    assert len(read_answer(tmp_path / "two.pt", "--output-example")) == 2


def test_a_number_is_no_example(tmp_path):
    torch.save(5, tmp_path / "e.pt")
    with pytest.raises(OptionError, match="holds: int"):
        read_example(tmp_path / "e.pt", "--input-example")


@pytest.mark.parametrize("name", ["overwrite", "input_example", "on_stage", "module"])
def test_an_argument_of_export_itself_is_no_keyword(name):
    with pytest.raises(OptionError, match="own hooks"):
        read_keywords([f"{name}=3"])


def test_a_port_that_is_declared_twice_is_refused():
    with pytest.raises(OptionError, match="twice"):
        read_port_types(["x=batch 4", "x=batch 5"], "--input-type")
