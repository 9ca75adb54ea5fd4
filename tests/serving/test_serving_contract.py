"""What the stand-ins check before they serve: the same as Triton's native backends, worded alike."""

import pytest

from torchport.ports.dtypes import DTYPES
from torchport.serving.backends.contract import Found, Refused, argument_order, check_found, dtype_in_config, output_order

X = {"x": Found("TYPE_FP32", (-1, 3, -1))}
Y = {"y": Found("TYPE_FP32", (-1, 5))}


def port(name, dims, dtype="TYPE_FP32", **more):
    return {"name": name, "data_type": dtype, "dims": [str(size) for size in dims], **more}


def config(most=0, inputs=None, outputs=None, **more):
    return {
        "name": "m",
        "max_batch_size": most,
        "input": inputs if inputs is not None else [port("x", (-1, 3, -1))],
        "output": outputs if outputs is not None else [port("y", (-1, 5))],
        **more,
    }


def test_dtypes_are_called_as_the_one_table_calls_them():
    for one in DTYPES.values():
        if one.triton_config is not None:
            assert dtype_in_config(one.numpy) == one.triton_config


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (config(), None),
        (config(inputs=[port("x", (4, 3, 7))]), None),
        (config(8, [port("x", (3, -1))], [port("y", (5,))]), None),
        (config(8, [port("x", (1,), reshape={"shape": ["3", "-1"]})], [port("y", (5,))]), None),
        (config(outputs=[]), None),
        (config(inputs=[]), "expects 0 inputs, model provides 1"),
        (config(inputs=[port("z", (1,))]), "unexpected inference input 'z', allowed inputs are: x"),
        (config(inputs=[port("x", (-1, 3, -1), "TYPE_INT64")]), "datatype TYPE_INT64 for input 'x', model provides TYPE_FP32"),
        (config(inputs=[port("x", (-1, 4, -1))]), r"the model expects 3 dimensions \(shape \[-1,3,-1\]\)"),
        (config(inputs=[port("x", (-1, 3))]), "specifies 2 dimensions"),
        (config(inputs=[port("x", (-1, -1, -1))]), r"explicit tensor shape \[-1,-1,-1\]"),
        (config(inputs=[port("x", (-1, 3, -1), allow_ragged_batch=True)]), r"for ragged input 'x', model provides \[-1,3,-1\]"),
        (config(outputs=[port("y", (-1, -1))]), r"explicit tensor shape \[-1,-1\]"),
        (config(outputs=[port("y", (2, 5))]), "the model expects 2 dimensions"),
        (config(outputs=[port("q", (2, 5))]), "unexpected inference output 'q', allowed outputs are: y"),
        (config(8), "an initial batch dimension because max_batch_size > 0 followed by"),
        (config(8, [port("x", (3, -1), optional=True)], [port("y", (5,))]), "expects 0 inputs"),
    ],
)
def test_a_configuration_is_held_against_the_file(given, said):
    if said is None:
        check_found(given, X, Y)
    else:
        with pytest.raises(Refused, match=said):
            check_found(given, X, Y)


def test_an_input_with_a_value_of_its_own_may_be_listed_as_optional():
    given = config(inputs=[port("x", (-1, 3, -1)), port("bias", (3,), optional=True)])
    check_found(given, X, Y, {"bias": Found("TYPE_FP32", (3,))})
    with pytest.raises(Refused, match="unexpected inference input 'bias'"):
        check_found(given, X, Y)


def test_a_ragged_input_is_one_axis_that_varies():
    given = config(2, [port("x", (1,), allow_ragged_batch=True)], [])
    check_found(given, {"x": Found("TYPE_FP32", (-1,))}, {})


def test_a_batch_of_the_servers_needs_a_dynamic_first_axis():
    with pytest.raises(Refused, match=r"the first dimension must be -1; but shape expected by the model is \[4,3\]"):
        check_found(config(2, [port("x", (3,))], []), {"x": Found("TYPE_FP32", (4, 3))}, {})


def test_an_optional_input_cannot_have_a_batch():
    known = {"x": Found("TYPE_FP32", (-1, 3)), "z": Found("TYPE_FP32", (-1, 3))}
    given = config(2, [port("x", (3,)), port("z", (3,), optional=True)], [])
    with pytest.raises(Refused, match="optional input 'z' is not supported for models that support batching"):
        check_found(given, {"x": known["x"]}, {})


def test_a_scalar_is_ones():
    known = {"x": Found("TYPE_FP32", ())}
    check_found(config(inputs=[port("x", (1,))], outputs=[]), known, {})
    with pytest.raises(Refused, match="scalar tensor 'x'"):
        check_found(config(inputs=[port("x", (2,))], outputs=[]), known, {})


def streaming(control="start", state=("cache_in", "cache_out"), dtype="TYPE_FP32", values="fp32_false_true"):
    return {
        "sequence_batching": {
            "control_input": [{"name": control, "control": [{"kind": "CONTROL_SEQUENCE_START", values: [0, 1]}]}],
            "state": [{"input_name": state[0], "output_name": state[1], "data_type": dtype, "dims": ["4"]}],
        }
    }


KNOWN = ({**X, "start": Found("TYPE_FP32", (1,)), "cache_in": Found("TYPE_FP32", (4,))}, {**Y, "cache_out": Found("TYPE_FP32", (4,))})


@pytest.mark.parametrize(
    ("sequences", "said"),
    [
        (streaming(), None),
        (streaming(control="stop"), "sequence control 'stop', but model does not provide that input"),
        (streaming(values="int32_false_true"), "expects data-type TYPE_FP32 but the model configuration specifies data-type TYPE_INT32"),
        (streaming(control="cache_in"), r"has dims \[4\] but dims \[1\] is expected"),
        (streaming(state=("lost", "cache_out")), "state input 'lost' is not in the model"),
        (streaming(state=("cache_in", "lost")), "state output 'lost' is not in the model"),
        (streaming(dtype="TYPE_FP16"), "datatype TYPE_FP16 for input state 'cache_in', model provides TYPE_FP32"),
    ],
)
def test_controls_and_states_are_inputs_and_outputs_of_the_model(sequences, said):
    if said is None:
        check_found(config(**sequences), *KNOWN)
    else:
        with pytest.raises(Refused, match=said):
            check_found(config(**sequences), *KNOWN)


def named(inputs, outputs=("out",), **more):
    return config(inputs=[port(name, (1,)) for name in inputs], outputs=[port(name, (1,)) for name in outputs], **more)


@pytest.mark.parametrize(
    ("inputs", "order"),
    [
        (["a", "b"], ["a", "b"]),
        (["b", "a"], ["a", "b"]),
        (["IN__1", "IN__0"], ["IN__0", "IN__1"]),
        (["p", "a"], ["p", "a"]),
        (["p__1", "q"], ["p__1", "q"]),
    ],
)
def test_inputs_of_a_script_follow_arguments_then_indices_then_their_order(inputs, order):
    assert argument_order(named(inputs), ["a", "b"]) == order


def test_inputs_of_a_script_that_do_not_fit_are_refused():
    with pytest.raises(Refused, match="expects 1 inputs, model provides 2"):
        argument_order(named(["a"]), ["a", "b"])
    with pytest.raises(Refused, match="the inputs IN__1, IN__2 do not count from 0 to 1"):
        argument_order(named(["IN__1", "IN__2"]), ["a", "b"])


def test_outputs_of_a_script_follow_indices_then_their_order():
    assert output_order(named(["a"], ["OUT__1", "OUT__0"])) == ["OUT__0", "OUT__1"]
    assert output_order(named(["a"], ["second", "first"])) == ["second", "first"]
    with pytest.raises(Refused, match="the outputs OUT__0, OUT__0 do not count"):
        output_order(named(["a"], ["OUT__0", "OUT__0"]))


def test_states_of_a_script_need_indices():
    states = {"sequence_batching": {"state": [{"input_name": "c__1", "output_name": "c__1"}]}}
    assert argument_order(named(["a__0"], **states), ["a", "b"]) == ["a__0", "c__1"]
    assert output_order(named(["a__0"], ["o__0"], **states)) == ["o__0", "c__1"]
    with pytest.raises(Refused, match="sequence batching with state but not all inputs"):
        argument_order(named(["a"], **states), ["a", "c__1"])
