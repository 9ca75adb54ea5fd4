"""Rows that a mask hides as a whole, where nothing says that the input is a mask: NaN in the file, a number from the model."""

from __future__ import annotations

import numpy as np

from torchport.verification._records import Array, Case

__all__ = ["hidden_rows"]


def hidden_rows(case: Case, name: str, got: Array) -> str:
    """What to say where exactly rows that are NaN in one of two answers have nothing but one value in a boolean input; else ``""``.

    Args:
        case: What was asked, and what the model answers.
        name: The output.
        got: What the artifact answers.
    """
    expected = case.outputs[name]
    if expected.shape != got.shape or got.ndim < 2 or got.dtype.kind != "f":
        return ""
    rows = got.shape[0]
    apart = (np.isnan(got) != np.isnan(expected)).reshape(rows, -1).any(1)
    for port, array in case.inputs.items():
        if array.dtype != np.bool_ or array.ndim < 2 or array.shape[0] != rows or not array.size:
            continue
        flat = array.reshape(rows, -1)
        for value in (True, False):
            if apart.any() and not (apart & (flat != value).any(1)).any():
                return (
                    f"every row that differs has `{port}` all {value}, hidden as a whole: nothing is promised there if `{port}` is known "
                    "as a mask: pass an input_example whose rows of it begin with what counts, and end with padding here and there"
                )
    return ""
