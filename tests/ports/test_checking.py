# models declare their ports as plain class attributes
from __future__ import annotations

import asyncio
import copy
import threading
import warnings
from typing import Any, NamedTuple

import pytest
import torch

from torchport.errors import PortError, PortTypeError, PortValueError, TorchportError
from torchport.ports import AxisKind, AxisType, NeuralType, Port, typecheck
from torchport.types import AudioSignal, LengthsType, LogitsType, LogprobsType, MelSpectrogramType, SpectrogramType

MEL = (AxisType(AxisKind.Batch), AxisType(AxisKind.Dimension, 8), AxisType(AxisKind.Time))


class Encoder(torch.nn.Module):
    """A model whose ports are properties."""

    @property
    def input_types(self) -> dict[str, Any]:
        return {
            "mel": NeuralType(MEL, SpectrogramType()),
            "length": NeuralType(("B",), LengthsType()),
            "bias": NeuralType(("B",), optional=True),
        }

    @property
    def output_types(self) -> dict[str, Any]:
        return {"encoded": NeuralType(MEL, MelSpectrogramType()), "encoded_len": NeuralType(("B",), LengthsType(), optional=True)}

    @typecheck()
    def forward(
        self, mel: torch.Tensor, length: torch.Tensor, bias: torch.Tensor | None = None, scale: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scales."""
        return mel * scale, length + 0


def call(*args: Any, **kwargs: Any) -> Any:
    return Encoder()(*args, **kwargs)


MELS, LENGTHS = torch.zeros(2, 8, 5), torch.tensor([5, 3])


def test_calls_that_fit_pass_by_position_and_by_name() -> None:
    assert call(MELS, LENGTHS)[0].shape == (2, 8, 5)
    assert call(MELS, length=LENGTHS, bias=torch.zeros(2), scale=2.0)[1].tolist() == [5, 3]
    assert call(mel=MELS, length=LENGTHS, bias=None)[0].shape == (2, 8, 5)


@pytest.mark.parametrize(
    ("args", "kwargs", "kind", "where", "words"),
    [
        ((torch.zeros(2, 5), LENGTHS), {}, PortValueError, "mel", "wrong rank"),
        ((torch.zeros(2, 7, 5), LENGTHS), {}, PortValueError, "mel, axis 1", "expected: 8"),
        ((MELS, torch.tensor([5])), {}, PortValueError, "length, axis 0", "'batch', have different sizes"),
        ((MELS.long(), LENGTHS), {}, PortTypeError, "mel", "found: int64"),
        ((MELS, LENGTHS.bool()), {}, PortTypeError, "length", "found: bool"),
        ((MELS, None), {}, PortTypeError, "length", "not optional is None"),
        ((MELS,), {}, PortTypeError, None, "missing a required argument: 'length'"),
        ((MELS, LENGTHS), {"biass": torch.zeros(2)}, PortTypeError, "biass", "did you mean 'bias'"),
        ((MELS, LENGTHS), {"scale": torch.zeros(2)}, PortTypeError, "scale", "does not declare"),
    ],
)
def test_a_call_that_does_not_fit_names_the_port_what_came_and_what_fits(
    args: Any, kwargs: Any, kind: type[Exception], where: str | None, words: str
) -> None:
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert isinstance(caught.value, TorchportError)
    assert isinstance(caught.value, TypeError if kind is PortTypeError else ValueError)
    assert words in str(caught.value)
    if where:
        assert where in str(caught.value.where)
        assert caught.value.found is not None
        assert caught.value.expected is not None


def answering(answer: Any, declared: dict[str, Any], **options: Any) -> Any:
    """An object, no module, whose call answers ``answer``."""

    class Answering:
        def output_types(self) -> dict[str, Any]:
            return declared

        @typecheck(**options)
        def __call__(self) -> Any:
            return answer

    return Answering()()


class Pair(NamedTuple):
    b: torch.Tensor
    a: torch.Tensor


ONE, TWO = torch.zeros(2), torch.zeros(2, 3)
DECLARED: dict[str, Any] = {"a": "batch", "b": "batch 3"}


@pytest.mark.parametrize("answer", [(ONE, TWO), [ONE, TWO], {"b": TWO, "a": ONE}, Pair(b=TWO, a=ONE)])
def test_answers_are_matched_in_order_or_by_name(answer: Any) -> None:
    assert answering(answer, DECLARED) is answer


@pytest.mark.parametrize(
    "answer", [ONE, (ONE,), (ONE, TWO, TWO), {"a": ONE}, {"a": ONE, "c": TWO}, (TWO, ONE), {"a": ONE, "b": TWO, "c": ONE}]
)
def test_other_answers_than_declared_are_refused(answer: Any) -> None:
    with pytest.raises(PortValueError):
        answering(answer, DECLARED)


def test_a_single_tensor_is_the_one_output() -> None:
    assert answering(ONE, {"a": ("batch", "float32")}) is ONE
    with pytest.raises(PortTypeError, match="wrong dtype"):
        answering(ONE, {"a": ("batch", "int64")})


def test_optional_outputs_may_be_missing() -> None:
    assert answering((ONE,), {"a": "batch", "b": Port("batch", optional=True)}) == (ONE,)


def test_sizes_of_outputs_agree_with_those_of_inputs() -> None:
    class Half:
        input_types = {"x": "batch time"}
        output_types = {"y": "batch time"}

        @typecheck()
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, ::2]

    with pytest.raises(PortValueError, match="'time', have different sizes"):
        Half()(torch.zeros(2, 4))


def test_plain_time_axes_of_two_ports_may_differ() -> None:
    class Two:
        input_types = {"x": NeuralType(("B", "T")), "y": NeuralType(("B", "T"))}

        @typecheck()
        def __call__(self, x: torch.Tensor, y: torch.Tensor) -> None: ...

    Two()(torch.zeros(2, 4), torch.zeros(2, 5))


def test_types_may_be_given_to_the_decorator() -> None:
    class Plain:
        @typecheck(input_types={"x": "batch 3"}, output_types={"y": "batch"})
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum(1)

    assert Plain()(torch.zeros(2, 3)).shape == (2,)
    with pytest.raises(PortValueError):
        Plain()(torch.zeros(2, 4))


def test_an_object_that_declares_nothing_is_not_checked() -> None:
    class Free:
        @typecheck()
        def __call__(self, x: Any) -> Any:
            return x

    assert Free()(3) == 3


def test_a_required_input_that_falls_to_keywords_is_missed() -> None:
    class Keywords:
        input_types = {"x": "batch"}

        @typecheck()
        def __call__(self, *rest: Any, **inputs: Any) -> None: ...

    Keywords()(x=ONE)
    with pytest.raises(PortTypeError, match="without an input"):
        Keywords()()
    with pytest.raises(PortTypeError, match="does not declare") as caught:
        Keywords()(ONE, x=ONE)
    assert caught.value.where == "rest_0"


def test_nested_ports_are_checked_part_by_part() -> None:
    class Nested:
        input_types = {"cache": ("batch 2", "batch 3"), "named": {"k": "batch"}, "many": ["batch 4"]}

        @typecheck()
        def __call__(self, cache: Any, named: Any, many: Any) -> None: ...

    good = ((torch.zeros(5, 2), torch.zeros(5, 3)), {"k": torch.zeros(5)}, [torch.zeros(5, 4)] * 3)
    Nested()(*good)
    for place, wrong, where in (
        (0, (torch.zeros(5, 2),), "cache"),
        (0, (torch.zeros(5, 2), torch.zeros(5, 2)), "cache_1"),
        (1, {"k": None}, "named_k"),
        (2, [torch.zeros(5, 1)], "many_0"),
    ):
        args: list[Any] = list(good)
        args[place] = wrong
        with pytest.raises(PortError) as caught:
            Nested()(*args)
        assert str(caught.value.where).startswith(where)


def test_lists_of_tensors_are_checked_item_by_item_unless_told_not_to() -> None:
    listed = NeuralType((AxisType(AxisKind.Batch, is_list=True), AxisType(AxisKind.Time)), AudioSignal())
    assert answering([torch.zeros(3), torch.zeros(5)], {"a": listed})
    with pytest.raises(PortValueError):
        answering([torch.zeros(3), torch.zeros(5, 1)], {"a": listed})
    assert answering([torch.zeros(3), torch.zeros(5, 1)], {"a": listed}, ignore_collections=True)


def test_a_tensor_that_an_earlier_call_produced_is_compared_by_meaning() -> None:
    class Decoder:
        input_types = {"x": NeuralType(MEL, SpectrogramType())}

        @typecheck()
        def __call__(self, x: torch.Tensor) -> None: ...

    encoded, _ = call(MELS, LENGTHS)
    Decoder()(encoded)
    for element in (LogitsType(), LogprobsType()):
        Decoder.input_types = {"x": NeuralType(MEL, element)}
        with pytest.raises(PortTypeError, match="INCOMPATIBLE"):
            Decoder()(encoded)
    assert not hasattr(MELS, "neural_type")


def test_an_error_of_the_method_itself_passes_unchanged() -> None:
    class Broken:
        @typecheck()
        def __call__(self) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Broken()()


def test_the_decorated_method_keeps_its_name_signature_and_documentation() -> None:
    import inspect

    assert (Encoder.forward.__name__, Encoder.forward.__doc__) == ("forward", "Scales.")
    assert list(inspect.signature(Encoder().forward).parameters) == ["mel", "length", "bias", "scale"]


BAD = torch.zeros(2, 5)


def test_checks_are_switched_off_for_one_instance() -> None:
    on, off = Encoder(), Encoder()
    with typecheck.disabled(off):
        off(BAD, LENGTHS)
        with pytest.raises(PortValueError):
            on(BAD, LENGTHS)
    with pytest.raises(PortValueError):
        off(BAD, LENGTHS)


def test_switching_off_nests() -> None:
    one, two = Encoder(), Encoder()
    with typecheck.disabled(one), typecheck.disabled(two):
        one(BAD, LENGTHS), two(BAD, LENGTHS)
        with typecheck.disabled():
            Encoder()(BAD, LENGTHS)
            with typecheck.disabled(one):
                Encoder()(BAD, LENGTHS)
        with pytest.raises(PortValueError):
            Encoder()(BAD, LENGTHS)


def test_checks_are_back_on_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), typecheck.disable_checks():
        raise ZeroDivisionError
    with pytest.raises(PortValueError):
        call(BAD, LENGTHS)


def test_switching_off_reaches_neither_other_threads_nor_other_tasks() -> None:
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with typecheck.disabled():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    try:
        with pytest.raises(PortValueError):
            call(BAD, LENGTHS)
    finally:
        done.set()
        thread.join()

    async def task(off: bool) -> None:
        if off:
            with typecheck.disabled():
                await asyncio.sleep(0.01)
        else:
            await asyncio.sleep(0.005)
            with pytest.raises(PortValueError):
                call(BAD, LENGTHS)

    async def both() -> None:
        await asyncio.gather(task(True), task(False))

    asyncio.run(both())


class Small(torch.nn.Module):
    """Scripting needs every name in the method's own globals."""

    input_types = {"x": NeuralType(("B", "T"), AudioSignal())}
    output_types = {"y": NeuralType(("B",))}

    @typecheck()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.relu(x).sum(1)


@pytest.fixture
def deprecations_allowed() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.mark.usefixtures("deprecations_allowed")
def test_decorated_modules_are_traced_scripted_exported_and_compiled() -> None:
    model, x, other = Small().eval(), torch.ones(2, 5), torch.ones(3, 7)
    dims = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("time")},)
    made = [
        torch.jit.trace(model, (x,)),
        torch.jit.script(model),
        torch.export.export(model, (x,), dynamic_shapes=dims).module(),
        torch.export.export(model, (x,), dynamic_shapes=dims, strict=True).module(),
        torch.compile(model, backend="eager", fullgraph=True),
    ]
    for one in made:
        assert one(other).tolist() == [7.0] * 3
    graph = str(made[0].graph)
    assert "prim::If" not in graph
    assert not any(kind in graph for kind in ("aten::size", "TracerWarning"))


def test_a_bound_forward_of_one_instance_is_checked_as_well() -> None:
    model = Small()
    with pytest.raises(PortValueError, match=r"Small\.forward"):
        model.forward(torch.ones(2))


class Two(torch.nn.Module):
    """Gives back its input, a buffer, and something new."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.ones(2, 3, 4))

    @typecheck(
        input_types={"x": NeuralType(("B", "D", "T"), AudioSignal())},
        output_types={name: NeuralType(("B", "D", "T"), SpectrogramType()) for name in ("same", "table", "new")},
    )
    def forward(self, x):
        return x, self.table, x + 1

    @typecheck(input_types={"x": NeuralType(("B", "T", "D"), SpectrogramType())})
    def turned(self, x):
        return x

    @typecheck(input_types={"x": NeuralType(("B", "D", "T"), MelSpectrogramType())})
    def narrower(self, x):
        return x


def test_a_check_notes_nothing_on_what_is_the_callers_or_the_models():
    model, x = Two(), torch.zeros(2, 3, 4)
    for _ in range(2):
        _, _, new = model(x)
    assert hasattr(new, "neural_type")
    assert not hasattr(x, "neural_type")
    assert not hasattr(model.table, "neural_type")


def test_turned_axes_and_a_wider_meaning_are_refused():
    model = Two()
    _, _, new = model(torch.zeros(2, 3, 4))
    with pytest.raises(PortTypeError, match="TRANSPOSE_SAME"):
        model.turned(new)
    with pytest.raises(PortTypeError, match="LESS"):
        model.narrower(new)


@pytest.mark.parametrize("value", ["hello", 3.0, object()])
def test_what_is_no_tensor_is_refused_where_a_tensor_is_declared(value):
    with pytest.raises(PortTypeError, match="no tensor"):
        Two()(value)


def test_a_parameter_that_is_not_said_fits_every_value():
    assert AudioSignal().compare(AudioSignal(16000)).name == "SAME"
    assert AudioSignal(16000).compare(AudioSignal()).name == "SAME"
    assert AudioSignal(16000).compare(AudioSignal(8000)).name == "SAME_TYPE_INCOMPATIBLE_PARAMS"


def test_a_checked_output_can_be_saved_and_loaded_as_plain_weights(tmp_path):
    _, _, new = Two()(torch.zeros(2, 3, 4))
    twin = copy.deepcopy(new)
    assert copy.copy(new).neural_type == twin.neural_type == new.neural_type
    assert isinstance(twin.neural_type, NeuralType)
    torch.save({"out": new}, tmp_path / "out.pt")
    loaded = torch.load(tmp_path / "out.pt", weights_only=True)["out"]
    assert torch.equal(loaded, new)
    Two().turned(loaded)  # what was read from a file is not taken for checked
