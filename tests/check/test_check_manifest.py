"""The manifest is read as if it were hostile, and its published schema is what it is read by."""

import contextlib
import copy
import json
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchport._json_schema import KEYWORDS, violations
from torchport.check import MANIFEST, MANIFEST_VERSION, check, manifest_schema, parse_manifest, read_manifest
from torchport.check._arrays import numpy_dtype, read_arrays
from torchport.errors import BundleError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="session")
def manifest(original):
    return read_manifest(original)[0]


def places(document, path=()):
    """The path to every value of a document."""
    yield path
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def replaced(document, path, value):
    document = copy.deepcopy(document)
    where = document
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    return document


def test_what_was_written_keeps_the_schema(manifest):
    assert list(violations(manifest, manifest_schema())) == []
    assert parse_manifest(json.dumps(manifest).encode()) == manifest


@given(st.data())
def test_whatever_stands_in_a_manifest_it_is_read_or_refused(manifest, data):
    path = data.draw(st.sampled_from([one for one in places(manifest) if one]))
    broken = replaced(manifest, path, data.draw(JSON))
    with contextlib.suppress(BundleError):
        parse_manifest(json.dumps(broken).encode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_whatever_stands_in_a_manifest_the_check_ends_with_a_report(manifest, bundle, data):
    path = data.draw(st.sampled_from([one for one in places(manifest) if one and one[0] == "artifacts"]))
    leaf = manifest
    for key in path:
        leaf = leaf[key]
    value = data.draw(st.text(max_size=4) if isinstance(leaf, str) else st.integers(0, 2**70) if isinstance(leaf, int) else JSON)
    (bundle / MANIFEST).write_text(json.dumps(replaced(manifest, path, value)))
    with contextlib.suppress(BundleError):
        report = check(bundle)
        assert isinstance(report.text(), str)
        assert json.dumps(report.to_dict())


@given(st.data())
def test_whatever_stands_in_goldens_they_are_read_or_refused(original, data):
    with tempfile.TemporaryDirectory() as folder:
        content = bytearray((original / "goldens/self/smallest.inputs.npz").read_bytes())
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
        (Path(folder) / "x.npz").write_bytes(content)
        with contextlib.suppress(ValueError):
            read_arrays(Path(folder) / "x.npz", {"left": "float32", "right": "float32", "lens": "int64"})


def test_an_array_that_promises_more_than_it_holds_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"0000")
    with pytest.raises(ValueError, match="no plain array of the size"):
        read_arrays(tmp_path / "x.npz", {})
    with pytest.raises(ValueError, match="no dtype"):
        numpy_dtype("float7")


@given(st.binary(max_size=40))
def test_any_bytes_are_refused(content):
    with pytest.raises(BundleError):
        parse_manifest(content)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("torchport_bundle",), 2, "version 2"),
        (("torchport_bundle",), "1", "no manifest of a bundle"),
        (("files", 0, "path"), "../README.md", "leads out of the bundle"),
        (("files", 0, "path"), "/etc/passwd", "leads out of the bundle"),
        (("files", 0, "path"), "a//b", "leads out of the bundle"),
        (("files", 0, "path"), "manifest.json", "cannot be listed"),
        (("files", 0, "path"), "twins.onnx", "is twice"),
        (("files", 0, "sha256"), "0" * 63, "does not look like"),
        (("files", 0, "bytes"), -1, "below 0"),
        (("files", 0, "bytes"), True, "is no integer"),
        (("artifacts",), [], "the list is empty"),
        (("artifacts", 0, "files"), ["other.onnx"], "is not listed"),
        (("artifacts", 0, "name"), "", "the text is empty"),
        (("artifacts", 0, "goldens", "from"), "nowhere", "none of 'model', 'artifact'"),
        (("artifacts", 0, "goldens", "cases", 0, "inputs"), "other.npz", "is not listed"),
        (("artifacts", 0, "goldens", "cases", 0, "tolerances"), {"low": 1.0}, "not one tolerance for each output"),
        (("artifacts", 0, "surprise"), 1, "'surprise' is not known"),
        (("metadata", "license"), 5, "is no string"),
    ],
)
def test_a_broken_manifest_says_where(manifest, path, value, said):
    with pytest.raises(BundleError) as caught:
        parse_manifest(json.dumps(replaced(manifest, path, value)).encode())
    assert said in str(caught.value)


def test_what_is_missing_is_named(manifest):
    broken = {key: value for key, value in manifest.items() if key != "files"}
    with pytest.raises(BundleError, match="'files' is missing"):
        parse_manifest(json.dumps(broken).encode())


def test_names_that_stand_twice_and_numbers_that_are_none_are_refused(manifest):
    with pytest.raises(BundleError, match="stands there twice"):
        parse_manifest(b'{"torchport_bundle": 1, "torchport_bundle": 1}')
    with pytest.raises(BundleError, match="NaN is no number"):
        parse_manifest(b'{"torchport_bundle": NaN}')
    with pytest.raises(BundleError, match="1e999 is no number"):
        parse_manifest(b'{"torchport_bundle": 1e999}')
    artifact = manifest["artifacts"][0]
    with pytest.raises(BundleError, match="'self' is there twice"):
        parse_manifest(json.dumps({**manifest, "artifacts": [artifact, artifact]}).encode())


def test_a_manifest_that_is_a_link_or_too_large_is_refused(bundle, tmp_path, monkeypatch):
    import torchport.check._manifest as module

    monkeypatch.setattr(module, "_LARGEST", 100)
    with pytest.raises(BundleError, match="too large"):
        read_manifest(bundle)
    (bundle / MANIFEST).rename(tmp_path / "elsewhere.json")
    (bundle / MANIFEST).symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BundleError, match="no bundle"):
        read_manifest(bundle)


def keywords(schema):
    for key, value in schema.items():
        yield key
        if key in ("properties", "$defs"):
            for inner in value.values():
                yield from keywords(inner)
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            yield from keywords(value)


def test_the_schema_uses_only_what_is_understood():
    assert set(keywords(manifest_schema())) <= KEYWORDS | {"$schema", "$defs", "title", "description"}
    assert manifest_schema()["properties"]["torchport_bundle"]["const"] == MANIFEST_VERSION
