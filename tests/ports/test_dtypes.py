from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from torchport.errors import PortTypeError
from torchport.ports import DTYPES, dtype_of


@pytest.mark.parametrize("name", [name for name in DTYPES if name != "string"])
def test_every_name_of_a_dtype_means_the_same_one(name: str) -> None:
    dtype = DTYPES[name]
    spellings = [name, dtype, dtype.torch, str(dtype.torch), dtype.onnx, *filter(None, [dtype.triton, dtype.triton_config])]
    assert {dtype_of(one).name for one in spellings} == {name}


@pytest.mark.parametrize("name", [name for name in DTYPES if "bfloat" not in name and "float8" not in name and name != "string"])
def test_numpy_and_torch_agree_about_names(name: str) -> None:
    tensor = torch.zeros(2, dtype=DTYPES[name].torch)
    assert tensor.numpy().dtype == np.dtype(DTYPES[name].numpy)
    assert dtype_of(tensor.numpy().dtype).name == name
    assert dtype_of(np.dtype(DTYPES[name].numpy).type).name == name


@pytest.mark.parametrize("name", DTYPES)
def test_numbers_are_those_of_onnx(name: str) -> None:
    number = DTYPES[name].onnx
    wanted = onnx.TensorProto.STRING if name == "string" else getattr(onnx.TensorProto, _onnx_name(name))
    assert number == wanted


def _onnx_name(name: str) -> str:
    if name.startswith("float8"):
        return name.upper().replace("FLOAT8_E4M3FN", "FLOAT8E4M3FN").replace("FLOAT8_E5M2", "FLOAT8E5M2")
    return {"float32": "FLOAT", "float64": "DOUBLE"}.get(name, name.upper())


def test_strings_have_two_names_in_triton() -> None:
    assert (dtype_of("string").triton, dtype_of("string").triton_config, dtype_of("float8_e5m2").triton_config) == (
        "BYTES",
        "TYPE_STRING",
        None,
    )


def test_torch_has_no_strings() -> None:
    with pytest.raises(PortTypeError, match="no tensors of strings"):
        _ = dtype_of("str").torch


@pytest.mark.parametrize("wrong", ["floaty", True, None, 99, object()])
def test_an_unknown_dtype_lists_the_known_ones(wrong: object) -> None:
    with pytest.raises(PortTypeError, match="float32, float64"):
        dtype_of(wrong)


def test_kinds_tell_numbers_apart() -> None:
    assert dtype_of("bfloat16").floating
    assert dtype_of("uint8").integral
    assert not dtype_of("bool").integral
    assert str(dtype_of("half")) == "float16"
