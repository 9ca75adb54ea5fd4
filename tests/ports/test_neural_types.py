from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from port_strategies import neural_types

import torchport.types as types
from torchport.errors import PortError, PortTypeError, PortValueError
from torchport.ports import Axis, AxisKind, AxisType, NeuralType, NeuralTypeComparison, Port, as_port
from torchport.types import (
    AcousticEncodedRepresentation,
    AudioSignal,
    ChannelType,
    ElementType,
    EncodedRepresentation,
    LengthsType,
    LogitsType,
    MelSpectrogramType,
    MFCCSpectrogramType,
    SpectrogramType,
    TokenIndex,
    VoidType,
)

Same = NeuralTypeComparison.SAME
Less = NeuralTypeComparison.LESS
Greater = NeuralTypeComparison.GREATER
Dims = NeuralTypeComparison.DIM_INCOMPATIBLE
Transposed = NeuralTypeComparison.TRANSPOSE_SAME
Other = NeuralTypeComparison.INCOMPATIBLE
Parameters = NeuralTypeComparison.SAME_TYPE_INCOMPATIBLE_PARAMS
Container = NeuralTypeComparison.CONTAINER_SIZE_MISMATCH

B, T, D = AxisKind.Batch, AxisKind.Time, AxisKind.Dimension


def bounded(*sizes: int | None, element: ElementType | None = None) -> NeuralType:
    axes = tuple(AxisType(kind, size) for kind, size in zip((B, T, D), sizes, strict=True))
    return NeuralType(axes, element or SpectrogramType())


@pytest.mark.parametrize(
    ("declared", "given_type", "verdict"),
    [
        (NeuralType(("B", "D", "T"), SpectrogramType()), NeuralType(("B", "D", "T"), SpectrogramType()), Same),
        (NeuralType(("B", "D", "T"), SpectrogramType()), NeuralType(("B", "C", "T"), SpectrogramType()), Same),
        (NeuralType(("B", "D", "T"), SpectrogramType()), NeuralType(("B", "D", "T"), MelSpectrogramType()), Greater),
        (NeuralType(("B", "D", "T"), MelSpectrogramType()), NeuralType(("B", "D", "T"), SpectrogramType()), Less),
        (NeuralType(("B", "D", "T"), MelSpectrogramType()), NeuralType(("B", "D", "T"), MFCCSpectrogramType()), Other),
        (NeuralType(("B", "D", "T"), SpectrogramType()), NeuralType(("B", "T", "D"), SpectrogramType()), Transposed),
        (NeuralType(("B", "D", "T"), SpectrogramType()), NeuralType(("B", "T", "D"), LogitsType()), Other),
        (NeuralType(("B", "D", "T"), SpectrogramType()), NeuralType(("B", "T"), SpectrogramType()), Other),
        (NeuralType(("B", "T"), SpectrogramType()), NeuralType(("B", "W"), SpectrogramType()), Other),
        (NeuralType(("B", "T"), AudioSignal(16000)), NeuralType(("B", "T"), AudioSignal(8000)), Parameters),
        (NeuralType(("B", "T"), AudioSignal(16000)), NeuralType(("B", "T"), AudioSignal(freq=16000)), Same),
        (bounded(None, None, None), bounded(64, 10, 128), Same),
        (bounded(64, 10, 128), bounded(None, None, None), Dims),
        (bounded(None, None, 16), bounded(None, None, 32), Dims),
        (NeuralType((AxisType(B), AxisType(D, 16), AxisType(T))), NeuralType((AxisType(B), AxisType(T), AxisType(D, 16))), Transposed),
        (NeuralType((AxisType(B), AxisType(D, 16), AxisType(T))), NeuralType((AxisType(B), AxisType(T), AxisType(D, 8))), Dims),
        (NeuralType(("B", "Any", "Any")), NeuralType(("B", "T", "Any")), Same),
        (NeuralType(("B", "T", "Any")), NeuralType(("B", "T", "C")), Same),
        (NeuralType(("B", "T", "Any")), NeuralType(("B", "Any", "Any")), Other),
        (NeuralType(("T", "Any")), NeuralType(("B", "T")), Other),
        (NeuralType(("B", "T", "C"), VoidType()), NeuralType(("B", "T", "C"), SpectrogramType()), Same),
        (NeuralType(("B", "T", "C"), SpectrogramType()), NeuralType(("B", "T", "C"), VoidType()), Other),
        (NeuralType(("B", "T", "C"), VoidType()), NeuralType(("B", "T"), SpectrogramType()), Other),
        (NeuralType(), NeuralType(("B", "T", "C"), SpectrogramType()), Same),
        (NeuralType(("B",), LengthsType()), NeuralType(), Other),
        (NeuralType(None, LengthsType()), NeuralType(None, LengthsType()), Same),
        (NeuralType((AxisType(B, is_list=True), AxisType(T))), NeuralType((AxisType(B), AxisType(T))), Container),
        (NeuralType(("B", "D"), ChannelType()), NeuralType(("B", "D"), AcousticEncodedRepresentation()), Greater),
        (NeuralType(("B", "T"), TokenIndex(10)), NeuralType(("B", "T"), TokenIndex(11)), Parameters),
        # a size in text is a dimension of that size
        (NeuralType(("B", "D", "T")), NeuralType("batch 80 time"), Same),
        (NeuralType("batch 80 time"), NeuralType(("B", "D", "T")), Dims),
        (NeuralType("batch 80 time"), NeuralType((AxisType(B), AxisType(D, 80), AxisType(T))), Same),
        (NeuralType((AxisType(B), AxisType(D, 80), AxisType(T))), NeuralType("batch mels=80 time"), Same),
        (NeuralType("batch 80 time"), NeuralType("batch 64 time"), Dims),
        (NeuralType("batch 80 time"), NeuralType("batch time 80"), Transposed),
        (NeuralType("batch 80 time"), NeuralType(("B", "T", "D")), Dims),
        (NeuralType(("B", "W")), NeuralType("batch 80"), Other),
        # names in another order
        (NeuralType("batch foo bar"), NeuralType("batch foo bar"), Same),
        (NeuralType("batch foo bar"), NeuralType("batch bar foo"), Transposed),
        (NeuralType("batch foo bar"), NeuralType((AxisType(B), Axis("bar"), Axis("foo"))), Transposed),
        (NeuralType("audio_time mel_time"), NeuralType("mel_time audio_time"), Transposed),
        (NeuralType("foo 80"), NeuralType("80 foo"), Transposed),
        (NeuralType("foo=3 bar"), NeuralType("bar foo=4"), Dims),
        (NeuralType("batch foo bar"), NeuralType("batch one other"), Same),  # a name is that of a size within one signature
        (NeuralType("batch foo bar"), NeuralType(("B", "T", "D")), Same),
        (NeuralType("batch foo bar", SpectrogramType()), NeuralType("batch bar foo", LogitsType()), Other),
    ],
)
def test_comparison_gives_the_usual_verdicts(declared: NeuralType, given_type: NeuralType, verdict: NeuralTypeComparison) -> None:
    assert declared.compare(given_type) is verdict
    assert declared.accepts(given_type) is (verdict in (Same, Greater))


def test_the_verdicts_have_their_usual_names() -> None:
    assert {one.name for one in NeuralTypeComparison} == {
        "SAME",
        "LESS",
        "GREATER",
        "DIM_INCOMPATIBLE",
        "TRANSPOSE_SAME",
        "INCOMPATIBLE",
        "SAME_TYPE_INCOMPATIBLE_PARAMS",
        "CONTAINER_SIZE_MISMATCH",
    }


def test_structures_with_other_fields_do_not_fit() -> None:
    class Box(ElementType):
        @property
        def fields(self) -> tuple[str, ...]:
            return ("x", "y", "w", "h")

    class BadBox(Box):
        def __init__(self, *names: str) -> None:
            self.names = names

        @property
        def fields(self) -> tuple[str, ...]:
            return self.names

    assert Box().compare(Box()) is Same
    assert BadBox("x").compare(BadBox("y")) is Other
    assert BadBox("x") != BadBox("y")


@given(neural_types())
def test_a_type_is_the_same_as_itself_by_value(one: NeuralType) -> None:
    twin = NeuralType(one.axes, one.elements_type, one.optional)
    assert twin == one
    assert hash(twin) == hash(one)
    assert one.compare(twin) is Same
    assert pickle.loads(pickle.dumps(one)) == one == copy.deepcopy(one)


@given(neural_types(), neural_types())
def test_verdicts_of_both_directions_agree(one: NeuralType, other: NeuralType) -> None:
    there, back = one.compare(other), other.compare(one)
    void = isinstance(one.elements_type, VoidType) or isinstance(other.elements_type, VoidType)
    anything = AxisKind.Any in {axis.kind for axis in (*(one.axes or ()), *(other.axes or ()))}
    sized = any(axis.size is not None for axis in (*(one.axes or ()), *(other.axes or ())))
    if one == other:
        assert there is back is Same
    if not void and not anything and not sized:
        mirrored = {Less: Greater, Greater: Less}
        assert back is mirrored.get(there, there)


@given(neural_types(), neural_types(), neural_types())
def test_what_fits_what_fits_also_fits(one: NeuralType, two: NeuralType, three: NeuralType) -> None:
    if one.accepts(two) and two.accepts(three) and not any(isinstance(each.elements_type, VoidType) for each in (one, two, three)):
        assert one.accepts(three)


def test_a_type_cannot_be_changed() -> None:
    one = NeuralType(("B",))
    with pytest.raises(AttributeError):
        one.optional = True
    with pytest.raises(AttributeError):
        del one.axes
    assert one != "B"


@pytest.mark.parametrize(
    "axes", ["BDT", ("B", "D", "T"), [AxisKind.Batch, AxisKind.Channel, AxisKind.Time], (AxisType(B), AxisType(D), "T")]
)
def test_axes_are_read_in_any_spelling(axes: object) -> None:
    assert NeuralType(axes, SpectrogramType()) == NeuralType(("B", "D", "T"), SpectrogramType())  # type: ignore[arg-type]


def test_a_type_becomes_a_port() -> None:
    axes = (AxisType(B), AxisType(D, 80), Axis("time", max=1600))
    port = NeuralType(axes, SpectrogramType(), optional=True, dtype="float16").port()
    assert port == Port(
        [Axis(kind=B), Axis(size=80, kind=D), Axis("time", max=1600)], dtype="float16", element=SpectrogramType(), optional=True
    )
    assert NeuralType("B").port().text == "_{batch}"
    assert NeuralType(()).port().rank == 0
    assert NeuralType().port().rank is None
    assert NeuralType("batch 80 time").port().shape == ("batch", 80, "time")
    assert NeuralType(("B", "S")).port().axes[1].size == 1  # type: ignore[index]
    assert NeuralType(("B", "T_audio")).port().axes[1].name == "T_audio"  # type: ignore[index]


def test_list_axes_are_no_part_of_the_port() -> None:
    listed = NeuralType((AxisType(B, is_list=True), AxisType(T)))
    assert (listed.list_depth, listed.port().rank) == (1, 1)
    with pytest.raises(PortValueError, match="list axis comes after"):
        NeuralType((AxisType(B), AxisType(T, is_list=True)))


def test_a_class_in_place_of_an_instance_is_refused_with_the_fix() -> None:
    with pytest.raises(PortTypeError) as caught:
        NeuralType(("B",), LengthsType)  # type: ignore[arg-type]
    assert caught.value.hint == "LengthsType()"


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(PortError, match="unknown axis kind"):
        NeuralType(("B", "frames"))


def test_repr_reads_like_the_code() -> None:
    assert repr(NeuralType(("B",), LengthsType(), optional=True)) == "NeuralType((batch,), LengthsType(), optional=True)"
    assert repr(NeuralType((AxisType(B), AxisType(D, 80), Axis("frames")), dtype="int8")) == (
        "NeuralType((batch, dimension:80, frames), VoidType(), dtype='int8')"
    )
    assert repr(NeuralType((Axis(kind=T),))) == "NeuralType((time,), VoidType())"
    assert repr(NeuralType()) == "NeuralType(None, VoidType())"


def test_default_dtypes_follow_the_meaning() -> None:
    dtypes = {name: getattr(types, name).dtype for name in ("AudioSignal", "SpectrogramType", "LogitsType", "ProbsType")}
    assert set(dtypes.values()) == {"float32"}
    assert {getattr(types, name).dtype for name in ("LengthsType", "TokenIndex", "LabelsType")} == {"int64"}
    assert types.MaskType.dtype == "bool"


def test_the_hierarchy_is_that_of_speech_text_and_vision() -> None:
    assert issubclass(MelSpectrogramType, SpectrogramType)
    assert issubclass(AcousticEncodedRepresentation, EncodedRepresentation)
    assert issubclass(types.NormalDistributionSamplesType, types.ProbabilityDistributionSamplesType)
    assert issubclass(types.RegressionValuesType, types.LabelsType)
    assert all(isinstance(getattr(types, name)(), ElementType) for name in types.__all__)


def test_a_range_without_a_number_is_refused() -> None:
    with pytest.raises(PortValueError, match="no number"):
        types.IntRange(min=3, max=2)


def test_a_type_without_classes_is_refused() -> None:
    with pytest.raises(PortValueError, match="at least one class"):
        TokenIndex(num_classes=0)


def test_types_of_another_library_of_the_same_make_are_read_by_their_names() -> None:
    class Kind:
        def __init__(self, name: str) -> None:
            self.name = name

    class Axes:
        def __init__(self, kind: str, size: int | None = None) -> None:
            self.kind, self.size, self.is_list = Kind(kind), size, False

    class Foreign:
        axes = (Axes("Batch"), Axes("Dimension", 80), Axes("Time"), Axes("Unheard"))
        optional = True
        elements_type = type("AudioSignal", (), {"type_parameters": {"freq": 8000}})()

    wanted = NeuralType((AxisType(B), AxisType(D, 80), AxisType(T), AxisType(AxisKind.Any)), AudioSignal(8000), optional=True)
    assert as_port(Foreign()) == wanted.port()
    Foreign.elements_type = type("AudioSignal", (), {"type_parameters": {"rate": 8000}})()
    assert as_port(Foreign()).element == AudioSignal()
    Foreign.axes, Foreign.elements_type = None, type("NotKnownHere", (), {})()  # type: ignore[assignment]
    assert as_port(Foreign()) == Port(optional=True)


@pytest.mark.parametrize("other", ["x", None, LengthsType()])
def test_what_is_no_neural_type_cannot_be_compared(other: object) -> None:
    with pytest.raises(TypeError, match="a neural type is compared with another one") as caught:
        NeuralType(("B",)).compare(other)  # type: ignore[arg-type]
    assert isinstance(caught.value, PortTypeError)
    assert caught.value.found == repr(other)


def test_what_is_no_element_type_cannot_be_compared() -> None:
    with pytest.raises(PortTypeError, match="an element type is compared with another one"):
        LengthsType().compare("x")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda kind: AxisType(kind), lambda kind: Axis("frames", kind=kind)])
def test_a_kind_that_is_none_is_refused_with_the_fix(make: object) -> None:
    with pytest.raises(TypeError, match="the kind of an axis is an AxisKind") as caught:
        make("B")  # type: ignore[operator]
    assert isinstance(caught.value, PortTypeError)
    assert "AxisKind.Batch" in str(caught.value.hint)
    with pytest.raises(PortTypeError) as caught:
        make(3)  # type: ignore[operator]
    assert caught.value.hint is None
