from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from port_strategies import axes, ports

from torchport.errors import PortError, PortTypeError, PortValueError
from torchport.ports import Axis, AxisKind, AxisType, Port, VoidType, format_axes, parse_axes
from torchport.types import AudioSignal


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("B", AxisKind.Batch),
        ("n", AxisKind.Batch),
        ("batch", AxisKind.Batch),
        ("T", AxisKind.Time),
        ("T_audio", AxisKind.Time),
        ("D", AxisKind.Dimension),
        ("C", AxisKind.Channel),
        ("channel", AxisKind.Dimension),
        ("W", AxisKind.Width),
        (" height ", AxisKind.Height),
        ("any", AxisKind.Any),
        ("seq", AxisKind.Sequence),
        ("FlowGroup", AxisKind.FlowGroup),
        ("s", AxisKind.Singleton),
    ],
)
def test_a_kind_is_known_by_its_short_and_long_names(label: str, kind: AxisKind) -> None:
    assert AxisKind.from_str(label) is kind


def test_an_unknown_kind_lists_the_known_ones_and_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="unknown axis kind") as caught:
        AxisKind.from_str("frames")
    assert isinstance(caught.value, PortError)
    assert "batch" in str(caught.value)


def test_kinds_are_written_in_words() -> None:
    assert (
        str(AxisKind.Time),
        str(AxisKind.FlowGroup),
        repr(AxisType(AxisKind.Time, 3)),
        repr(AxisType(AxisKind.Batch, is_list=True)),
    ) == (
        "time",
        "flow group",
        "time:3",
        "batch[]",
    )


@pytest.mark.parametrize(
    ("name", "kind"), [("time", "Time"), ("audio_time", "Time"), ("T_text", "Time"), ("b", "Batch"), ("img_width", "Width")]
)
def test_a_name_tells_the_kind(name: str, kind: str) -> None:
    assert Axis(name).kind.name == kind


def test_named_axes_and_varying_kinds_are_dynamic_others_are_not() -> None:
    assert [Axis("frames").dynamic, Axis(kind=AxisKind.Time).dynamic, Axis(kind=AxisKind.Dimension).dynamic, Axis(size=80).dynamic] == [
        True,
        True,
        False,
        False,
    ]
    assert Axis(kind=AxisKind.Singleton).size == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "time", "min": 5, "max": 4},
        {"name": "time", "min": -1},
        {"name": "time", "multiple_of": 0},
        {"name": "time", "min": 5, "max": 7, "multiple_of": 4},
        {"name": "time", "size": 3, "dynamic": True},
        {"name": "two words"},
        {"name": "3d"},
        {"size": -1},
        {"size": True},
        {"size": 2.0},
    ],
)
def test_an_axis_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(PortError):
        Axis(**wrong)  # type: ignore[arg-type]


def test_a_list_axis_has_no_size() -> None:
    with pytest.raises(PortValueError, match="list axis"):
        AxisType(AxisKind.Batch, size=3, is_list=True)


def test_an_axis_says_which_sizes_it_takes() -> None:
    axis = Axis("time", min=3, max=15, multiple_of=4)
    assert [size for size in range(20) if axis.allows(size)] == [4, 8, 12]
    assert (axis.smallest, axis.largest, axis.sizes_in_words()) == (4, 12, "3 to 15, a multiple of 4")
    assert Axis("time").sizes_in_words() == "1 or more"
    assert Axis(size=80).sizes_in_words() == "80"
    assert (Axis("audio_time").words(), Axis("time").words(), Axis("frames").words()) == (
        "time axis 'audio_time'",
        "time axis",
        "axis 'frames'",
    )


def test_text_reads_sizes_names_and_constraints() -> None:
    assert parse_axes("batch 1 h=40 _ time{min=4,max=1600,multiple_of=4}") == (
        Axis("batch"),
        Axis(size=1),
        Axis("h", size=40),
        Axis(),
        Axis("time", min=4, max=1600, multiple_of=4),
    )


def test_an_empty_text_is_a_scalar_and_three_dots_are_any_rank() -> None:
    assert parse_axes("") == ()
    assert parse_axes(" ... ") is None
    assert format_axes(None) == "..."


@pytest.mark.parametrize(
    "text", ["*batch 80", "... 80", "#x", "a-b", "time{min=x}", "time{", "80=time", "time=", "{fixed}", "80{dynamic}", "n+1"]
)
def test_text_that_is_no_shape_of_one_rank_is_refused_with_the_axis(text: str) -> None:
    with pytest.raises(PortValueError) as caught:
        parse_axes(text, where="audio")
    assert caught.value.where == "audio"
    assert caught.value.found.partition(" in ")[0].strip("'") in text
    assert caught.value.hint


@given(st.lists(axes(), max_size=5))
def test_text_round_trips_any_axes(some: list[Axis]) -> None:
    assert parse_axes(format_axes(some)) == tuple(some)


@given(ports())
def test_a_port_round_trips_through_its_dict_and_through_pickle(port: Port) -> None:
    assert Port.from_dict(port.to_dict()) == port
    assert pickle.loads(pickle.dumps(port)) == port
    assert hash(Port.from_dict(port.to_dict())) == hash(port)


def test_a_port_takes_any_spelling() -> None:
    import torch

    wanted = Port("batch 80 time", dtype="float32")
    assert Port(("batch", 80, Axis("time")), dtype=torch.float32) == wanted
    assert Port([Axis("batch"), AxisType(AxisKind.Any, 80), "time"], dtype="FP32") == wanted
    assert Port("batch", element=AudioSignal).element == AudioSignal()  # type: ignore[arg-type]
    assert Port("...").rank is None
    assert wanted.rank == 3


def test_a_port_shows_its_shape() -> None:
    assert Port("batch _ 80 time").shape == ("batch", None, 80, "time")
    assert Port().shape is None
    assert repr(Port("batch", dtype="int64", element=AudioSignal(8000), optional=True)) == (
        "Port('batch', dtype='int64', AudioSignal(freq=8000), optional=True)"
    )


def test_a_port_refuses_what_is_no_element_or_axis() -> None:
    with pytest.raises(PortTypeError, match="element type"):
        Port("batch", element="audio")  # type: ignore[arg-type]
    with pytest.raises(PortError):
        Port((3.5,))
    with pytest.raises(PortError, match="cannot be read"):
        Port.from_dict({"dtype": "float32"})


def test_an_element_that_nobody_knows_here_reads_back_as_anything() -> None:
    assert Port.from_dict({"axes": "batch", "element": "FromSomewhereElse", "parameters": {"x": 1}}).element == VoidType()
