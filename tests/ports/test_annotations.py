# the notation of jaxtyping is no Python expression
from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Annotated, Any, NamedTuple, Optional, TypedDict

import pytest
import torch
from jaxtyping import Bool, Float, Float16, Float32, Int, Int64, Num, Shaped, UInt8
from torch import Tensor

from torchport.errors import PortError
from torchport.ports import Axis, NeuralType, Port, Signature, as_port, signature_from_annotations
from torchport.types import BoolType, FloatType, IntType, LengthsType, VoidType


class Answer(NamedTuple):
    scores: Float[Tensor, "batch classes"]
    lengths: Int64[Tensor, " batch"]


class AnswerDict(TypedDict):
    scores: Float[Tensor, "batch classes"]
    note: str


@dataclasses.dataclass
class AnswerRecord:
    scores: Float[Tensor, "batch classes"]


class Tagger(torch.nn.Module):
    def forward(
        self,
        audio: Float[Tensor, "batch 80 time"],
        length: Int64[Tensor, " batch"],
        bias: Optional[Float32[Tensor, "batch 1"]] = None,  # noqa: UP045
        gain: Float16[Tensor, ""] | None = None,
        beam: int = 3,
    ) -> Answer: ...


def test_inputs_and_outputs_are_read_from_a_bound_forward() -> None:
    inputs, outputs = signature_from_annotations(Tagger().forward)
    assert inputs == {
        "audio": Port("batch 80 time", element=FloatType()),
        "length": Port("batch", dtype="int64"),
        "bias": Port("batch 1", dtype="float32", optional=True),
        "gain": Port("", dtype="float16", optional=True),
    }
    assert list(outputs) == ["scores", "lengths"]
    assert Signature.of(inputs, outputs).symbols.keys() == {"batch", "time", "classes"}


def test_answers_of_every_kind_name_their_parts() -> None:
    Row = Float[Tensor, " batch"]

    def one(x: Row) -> Row: ...
    def two(x: Row) -> tuple[Row, Row]: ...
    def nested(x: tuple[Row, Row]) -> tuple[Row, tuple[Row, Row]]: ...
    def typed_dict(x: Row) -> AnswerDict: ...
    def record(x: Row) -> AnswerRecord: ...
    def many(x: Row) -> tuple[Row, ...]: ...
    def none(x: Row) -> None: ...
    def nothing(x: Tensor): ...  # type: ignore[no-untyped-def]

    for function in (one, two, nested, typed_dict, record, many, none):
        function.__annotations__ = {name: eval(hint, globals(), {"Row": Row}) for name, hint in function.__annotations__.items()}
    names = {
        function.__name__: list(signature_from_annotations(function)[1]) for function in (one, two, nested, typed_dict, record, many, none)
    }
    assert names == {
        "one": ["output"],
        "two": ["output_0", "output_1"],
        "nested": ["output_0", "output_1_0", "output_1_1"],
        "typed_dict": ["scores"],
        "record": ["scores"],
        "many": [],
        "none": [],
    }
    assert list(signature_from_annotations(nested)[0]) == ["x_0", "x_1"]
    assert signature_from_annotations(nothing) == ({}, {})


@pytest.mark.parametrize(
    ("annotation", "dtype", "element"),
    [
        (Float[Tensor, "b"], None, FloatType()),
        (Int[Tensor, "b"], None, IntType()),
        (Bool[Tensor, "b"], "bool", VoidType()),
        (UInt8[Tensor, "b"], "uint8", VoidType()),
        (Num[Tensor, "b"], None, VoidType()),
        (Shaped[Tensor, "b"], None, VoidType()),
    ],
)
def test_dtypes_are_as_narrow_as_the_annotation(annotation: Any, dtype: str | None, element: object) -> None:
    port = as_port(annotation)
    assert (port.dtype, port.element) == (dtype, element)
    assert BoolType().dtype == "bool"


def test_axes_take_names_sizes_and_unknowns() -> None:
    assert as_port(Float[Tensor, "batch h=4 _ _unused ?tree"]).axes == (Axis("batch"), Axis("h", size=4), Axis(), Axis(), Axis("tree"))
    assert as_port(Float[Tensor, "..."]).axes is None


def test_an_expression_is_a_dynamic_axis_of_its_own() -> None:
    signature = Signature.of(outputs={"y": Float[Tensor, "batch time//2+1"]})
    assert signature.dynamic_axes() == {"y": {0: "batch", 1: "y_dim1"}}


@pytest.mark.parametrize("text", ["*batch 80", "... 80", "#batch 80"])
def test_annotations_of_more_than_one_shape_are_refused(text: str) -> None:
    def forward(x: Any) -> None: ...

    forward.__annotations__ = {"x": Float[Tensor, text]}
    with pytest.raises(PortError) as caught:
        signature_from_annotations(forward)
    assert caught.value.where == "x"


def test_annotated_carries_a_port_or_a_neural_type() -> None:
    def forward(x: Any, y: Any, z: Any) -> None: ...

    forward.__annotations__ = {
        "x": Annotated[Tensor, NeuralType(("B",), LengthsType())],
        "y": Annotated[Tensor, "a note", Port("batch 3", dtype="float32")],
        "z": Annotated[Float32[Tensor, "batch"], "a note"],
    }
    inputs, _ = signature_from_annotations(forward)
    assert inputs == {
        "x": Port([NeuralType("B").port().axes[0]], element=LengthsType()),
        "y": Port("batch 3", dtype="float32"),
        "z": Port("batch", dtype="float32"),
    }  # type: ignore[index]


def test_a_name_that_only_type_checkers_see_hides_its_own_parameter_only() -> None:
    def forward(x: Float32[Tensor, " batch"], y: OnlyForCheckers) -> OnlyForCheckers: ...  # type: ignore[name-defined]

    inputs, outputs = signature_from_annotations(forward)
    assert (list(inputs), outputs) == (["x"], {})


def test_a_union_of_two_tensors_declares_nothing() -> None:
    def forward(x: Float32[Tensor, " batch"] | Int64[Tensor, " batch"] | None) -> None: ...

    assert signature_from_annotations(forward) == ({}, {})


def test_reading_annotations_imports_no_jaxtyping() -> None:
    code = (
        "import sys; from torchport.ports import as_port;"
        "Like = type('Like', (), {'dim_str': 'batch 3', 'dtypes': ('float32',)});"
        "assert as_port(Like).text == 'batch 3'; print('jaxtyping' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
