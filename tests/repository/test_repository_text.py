"""Texts: what is wrong is said with line and column, and nothing that a file may hold makes the checker fall over."""

import random

import pytest
from corpus import CASES, SOUND, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchport.repository import RULES, check_repository
from torchport.repository._text import Broken, Config, parse_config

TEXTS = [
    content if isinstance(content, bytes) else content.encode()
    for case in CASES
    for inside in case.models.values()
    for path, content in inside.items()
    if path == "config.pbtxt"
]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (SOUND.replace("max_batch_size:", "max_batch_size ="), (3, 16), 'Expected ":"'),
        (SOUND.replace("dims", "dim", 1), (7, 3), 'message "Input" has no field named "dim"'),
        (SOUND.replace("TYPE_FP32", "FP32", 1), (6, 14), 'Enum type "DataType" has no value named FP32'),
        (SOUND + "dynamic_batching {}\nsequence_batching {}\n", (15, 1), 'is specified along with field "dynamic_batching"'),
        (SOUND + 'name: "m"\n', (14, 7), 'message "ModelConfig" should not have multiple "name" fields'),
        ("\ufeffname: 'm'", (1, 1), "a byte order mark"),
        ("\n\n  ]", (3, 3), "Expected identifier or number, got ]"),
        (SOUND.replace("8", "8.5"), (3, 17), "Couldn't parse integer: 8.5"),
    ],
)
def test_a_broken_text_is_told_with_line_and_column(text, place, said):
    broken = parse_config(text.encode())
    assert isinstance(broken, Broken)
    assert (broken.place, said in broken.message) == (place, True), broken
    assert "torchport" not in broken.message


@pytest.mark.parametrize(
    ("content", "encoded", "place"),
    [
        (b'name: "m\xfc"', True, (1, 7)),
        (b"\ninput { data_type: TYPE_\xfc }", False, (2, 20)),
        (b"input { data_type: \xfc }", False, (1, 20)),
    ],
)
def test_bytes_that_are_no_text_are_told(content, encoded, place):
    broken = parse_config(content)
    assert isinstance(broken, Broken)
    assert (broken.encoded, broken.place) == (encoded, place), broken
    broken.message.encode()


def test_a_byte_that_is_no_text_does_not_matter_in_a_comment():
    assert isinstance(parse_config(b"# gr\xfc\xdfe\nmax_batch_size: 0"), Config)


def test_fields_are_found_where_they_stand():
    config = parse_config(
        b'input [\n  { name: "x" },\n  { name: "y"\n    dims: [1,\n 2] }\n]\nparameters {\n key: "a" }\nparameters { key: "a" }'
    )
    assert isinstance(config, Config)
    assert config.place(("input", 1, "dims")) == (4, 5)
    assert config.place(("input", 1)) == (3, 3)
    assert config.place(("input", 1, "reshape", 0, "shape")) == (3, 3)
    assert config.place(("output", 0)) == (0, 0)
    assert config.keys == (('parameters: "a"', (9, 14)),)


def checked(folder, content):
    """The report on one model with this configuration."""
    (folder / "m" / "1").mkdir(parents=True, exist_ok=True)
    (folder / "m" / "config.pbtxt").write_bytes(content)
    report = check_repository(folder)
    report.text().encode()
    assert all(finding.rule in RULES and finding.message for finding in report.findings)
    return report


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_bytes_by_chance_are_judged(tmp_path, content):
    checked(tmp_path, content)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_mutated_configurations_are_judged(tmp_path, seed):
    """Bytes and words of real configurations are dropped, doubled, swapped and exchanged for those of another one."""
    draw = random.Random(seed)
    text = bytearray(draw.choice(TEXTS))
    other = draw.choice(TEXTS)
    for _ in range(draw.randrange(1, 6)):
        place, length = draw.randrange(len(text) + 1), draw.randrange(1, 12)
        piece = draw.randrange(max(len(other) - length, 1))
        kind = draw.randrange(4)
        if kind == 0:
            del text[place : place + length]
        elif kind == 1:
            text[place:place] = other[piece : piece + length]
        elif kind == 2:
            text[place : place + 1] = bytes([draw.randrange(256)])
        else:
            words = bytes(text).split(b" ")
            words[draw.randrange(len(words))] = draw.choice(other.split(b" "))
            text = bytearray(b" ".join(words))
    checked(tmp_path, bytes(text))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_mutated_model_files_are_judged(tmp_path, seed):
    draw = random.Random(seed)
    case = next(one for one in CASES if one.name == "sound")
    if not (tmp_path / "m").exists():
        write(case, tmp_path)
    content = bytearray(case.models["m"]["1/model.onnx"])
    for _ in range(draw.randrange(1, 8)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    (tmp_path / "m/1/model.onnx").write_bytes(content[: draw.randrange(1, len(content) + 1)])
    check_repository(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"input {" * 5000,
        b"input [" * 5000,
        b"[" * 5000,
        b"input { dims: [" + b"1," * 20000 + b"1] }",
        b'name: "' + b"m" * 100000 + b'"',
        b"max_batch_size: " + b"9" * 10000,
        b"max_batch_size: 0x" + b"f" * 10000,
        b"sequence_batching { direct { minimum_slot_utilization: nan } }",
        b"sequence_batching { direct { minimum_slot_utilization: 1e999 } }",
        b'name: "\\0\\x1b[31m\\n" platform: "\\0" default_model_filename: "\\0"',
        b'default_model_filename: "../../../etc/passwd" backend: "onnxruntime"',
        b'backend: "onnxruntime" default_model_filename: "' + b"m" * 5000 + b'" output { label_filename: "' + b"l" * 5000 + b'" }',
        b'output { name: "y" label_filename: "\\0" } output { label_filename: "/etc/passwd" }',
        b'model_warmup { batch_size: 1 inputs { key: "x" value { dims: [9223372036854775807, 9223372036854775807]'
        b' input_data_file: "\\0" } } }',
        b"input { name: 'x' data_type: 99 format: 99 dims: -9223372036854775808 reshape { shape: 9223372036854775807 } }",
    ],
    ids=range(15),
)
def test_texts_that_mean_harm_are_judged(tmp_path, content):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(b"x")
    report = checked(tmp_path, content)
    assert report.findings
    assert "\x1b" not in report.text()
    assert "root:" not in report.text()
