"""Lines of torch's C++ logger stay away; everything else that is written to standard error comes through."""

import os

import pytest

from torchport.capture._native import quiet_native_warnings

WARNING = b"[W1124 01:22:31.731218703 shape_type_inference.cpp:1994] Warning: the shape is missing (function Update)\n"


def test_only_the_warnings_are_dropped(capfd):
    with quiet_native_warnings():
        os.write(2, WARNING + b"a real message\n")
    assert capfd.readouterr().err == "a real message\n"


def test_verbose_lets_them_through(capfd):
    with quiet_native_warnings(verbose=True):
        os.write(2, WARNING)
    assert "shape is missing" in capfd.readouterr().err


def test_standard_error_comes_back_after_an_error(capfd):
    with pytest.raises(KeyboardInterrupt), quiet_native_warnings():
        raise KeyboardInterrupt
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"
