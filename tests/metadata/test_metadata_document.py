"""The metadata document: what a model states is held against the schema, and what a file holds is read as a stranger's."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchport._json_schema import KEYWORDS
from torchport.errors import MetadataError
from torchport.metadata import (
    KEY,
    VERSION,
    as_document,
    feature_settings,
    format_metadata,
    metadata_schema,
    parse_metadata,
    stated_metadata,
)

STATE = {"input": "h", "output": "h_next", "shape": [2, "batch", 4], "dtype": "float32", "fill": 0}


def document(**stated):
    return as_document(stated, inputs=["x", "h"], outputs=["y", "h_next"], where="Model.export_metadata")


def keywords(schema):
    for name, value in schema.items():
        yield name
        if name in ("properties", "$defs"):
            for one in value.values():
                yield from keywords(one)
        elif name in ("items", "additionalProperties") and isinstance(value, dict):
            yield from keywords(value)


def test_the_schema_uses_only_what_is_understood():
    assert set(keywords(metadata_schema())) <= KEYWORDS | {"$schema", "$defs", "title", "description"}
    assert metadata_schema()["properties"]["version"]["const"] == VERSION


def test_every_key_explains_itself_and_stands_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "metadata.md").read_text(encoding="utf-8")
    parts = {"": metadata_schema(), **{name: part for name, part in metadata_schema()["$defs"].items() if part["type"] == "object"}}
    for part, schema in parts.items():
        assert not part or schema["description"]
        for name, one in schema["properties"].items():
            assert "description" in one or "$ref" in one, name
            row = f"| `{name}` | {one['description']} |" if "description" in one else f"| `{name}` | "
            assert row in page, row


def test_tuples_become_lists_and_the_version_is_filled_in():
    assert document(labels=("a", "b")) == {"version": 1, "labels": ["a", "b"]}


def test_a_misspelt_key_gets_the_nearest_one():
    with pytest.raises(MetadataError, match="did you mean 'sample_rate'"):
        document(sample_rat=16000)


def test_a_key_of_ones_own_is_told_where_it_belongs():
    with pytest.raises(MetadataError, match="under 'extra'"):
        document(zzz=1)
    assert document(extra={"zzz": 1})["extra"] == {"zzz": 1}


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_what_json_does_not_hold_is_refused(value):
    with pytest.raises(MetadataError, match="no JSON"):
        document(extra={"value": value})


def test_a_port_that_the_graph_does_not_have_is_refused():
    with pytest.raises(MetadataError) as caught:
        document(ports={"scores": "z"})
    assert (caught.value.where, caught.value.found) == ("Model.export_metadata: ports.scores", "z")
    assert document(ports={"scores": "y"}, states=[STATE])
    for side in ("input", "output"):
        with pytest.raises(MetadataError, match=rf"states\[0\].{side}"):
            document(states=[{**STATE, side: "x" if side == "output" else "y"}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no object"),
        ('{"version": 1, "version": 1}', "no JSON"),
        ('{"version": 2}', "a layout that is not known"),
        ('{"version": true}', "a layout that is not known"),
        ('{"version": 1, "sample_rate": "16000"}', "break their schema"),
        ("{}", "break their schema"),
    ],
)
def test_a_broken_text_is_refused_with_the_file(text, message):
    with pytest.raises(MetadataError, match=message) as caught:
        parse_metadata(text, where="m.onnx")
    assert caught.value.where.startswith("m.onnx")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=3), st.lists(st.text(), max_size=4))
def test_what_is_written_is_read_again(extra, tokens):
    made = document(extra=extra, vocabulary={"blank": len(tokens), "tokens": tokens})
    assert parse_metadata(format_metadata(made), where="m.onnx") == made


def test_a_file_without_a_document_states_none():
    assert stated_metadata({"torchport.version": "1"}, where="m.onnx") is None
    assert stated_metadata({KEY: '{"version":1}'}, where="m.onnx") == {"version": 1}


def test_both_spellings_of_a_front_end_are_read():
    seconds = feature_settings({"sample_rate": 22050, "window_size": 0.02, "window_stride": 0.01, "features": 64, "normalize": "NA"})
    samples = feature_settings({"sample_rate": 22050, "n_window_size": 441, "n_window_stride": 220, "nfilt": 64, "normalize": None})
    assert seconds == samples
    assert (seconds["fft_length"], seconds["high_frequency"], seconds["normalize"]) == (512, 11025.0, None)


def test_fixed_statistics_and_other_features_have_names():
    assert feature_settings({"normalize": {"fixed_mean": [0.0], "fixed_std": [1.0]}})["normalize"] == "fixed"
    assert feature_settings({"n_mfcc": 40}) == {"kind": "mfcc", "bins": 40, "window_length": 320, "hop_length": 160}
    assert feature_settings({"exact_pad": True})["centered"] is False


def test_feature_settings_keep_the_schema():
    assert as_document({"features": feature_settings({})}, inputs=[], outputs=[], where="here")
