"""The digests of weights, graph and files, apart: what changes which, and what hostile files get."""

import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

import torchport
from torchport.emit import Format, content_digests, format_for, formats
from torchport.errors import UnusablePathError


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.register_buffer("table", torch.arange(20.0).reshape(4, 5)[:, ::2])

    def forward(self, x):
        return self.linear(x) + self.table.sum() + torch.tensor([0.5, 1.0, 2.0])


class Other(Tiny):
    def forward(self, x):
        return super().forward(x).relu()


TYPES = {"input_types": {"x": ("batch 4", "float32")}, "output_types": {"y": ("batch 3", "float32")}, "verify": False}
SUFFIXES = ["onnx", "ts", "pt2"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_and_graph_change_apart(tmp_path, suffix):
    model = Tiny()
    result = torchport.export(model, tmp_path / f"m.{suffix}", **TYPES)
    first = result.parts[0].artifact.content_digests()
    assert first == content_digests(result.path)
    assert result.to_dict()["artifacts"][0]["content_digests"] == first.to_dict()
    assert first.artifact == result.parts[0].artifact.digests[result.path.name]

    with torch.no_grad():
        model.linear.bias[1] += 1
    trained = content_digests(torchport.export(model, tmp_path / f"trained.{suffix}", **TYPES).path)
    assert trained.graph == first.graph
    assert trained.weights != first.weights
    assert trained.artifact != first.artifact

    other = Other()
    other.load_state_dict(model.state_dict())
    changed = content_digests(torchport.export(other, tmp_path / f"other.{suffix}", **TYPES).path)
    assert changed.graph != first.graph


def test_the_weights_of_one_model_have_one_digest_in_every_format(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)).eval()
    types = {**TYPES, "input_types": {"input": ("batch 4", "float32")}}
    found = {content_digests(torchport.export(model, tmp_path / f"m.{suffix}", **types).path).weights for suffix in SUFFIXES}
    assert len(found) == 1


@pytest.mark.parametrize("suffix", ["ts", "pt2"])
def test_a_view_counts_with_the_values_that_it_shows(tmp_path, suffix):
    path = torchport.export(Tiny(), tmp_path / f"m.{suffix}", **TYPES).path
    tensor = format_for(path).read_content(path).tensors["table"]
    expected = np.ascontiguousarray(np.arange(20, dtype=np.float32).reshape(4, 5)[:, ::2])
    assert (tensor.dtype, tensor.shape) == ("float32", (4, 3))
    assert tensor.sha256 == hashlib.sha256(expected.tobytes()).hexdigest()


def test_an_artifact_that_was_changed_or_removed_since_its_export_has_no_digests(tmp_path):
    result = torchport.export(Tiny(), tmp_path / "m.onnx", **TYPES)
    torchport.export(Other(), tmp_path / "m.onnx", **TYPES, overwrite=True)
    with pytest.raises(UnusablePathError, match="changed since"):
        result.parts[0].artifact.content_digests()
    assert result.to_dict()["artifacts"][0]["content_digests"] is None
    (tmp_path / "m.onnx").unlink()
    with pytest.raises(UnusablePathError, match="not there any more"):
        result.parts[0].artifact.content_digests()


class Opaque(Format):
    """A format that does not tell its weights apart."""

    name, suffixes, form, strategies, runtime = "opaque", (".opaque",), "onnx", (), "none"

    def _write(self, captured, path, options, metadata):
        raise NotImplementedError

    def read_metadata(self, path):
        return {}


def test_a_format_that_cannot_tell_gives_the_digest_of_the_file(tmp_path):
    formats.add("opaque", Opaque())
    try:
        (tmp_path / "m.opaque").write_bytes(b"content")
        found = content_digests(tmp_path / "m.opaque")
    finally:
        formats.remove("opaque")
    assert (found.weights, found.graph) == (None, None)
    assert len(found.artifact) == 64


# -- ONNX: the layout does not count ------------------------------------------------------------------------------------------------


def matrix(values, raw=True, name="w", dtype=TensorProto.FLOAT):
    array = np.asarray(values)
    return helper.make_tensor(name, dtype, array.shape, array.tobytes() if raw else array.reshape(-1).tolist(), raw=raw)


def model_of(*tensors, op="Add", doc="", order=1):
    names = [tensor.name for tensor in tensors]
    nodes = [helper.make_node(op, ["x", names[0]], ["y"], name="n", doc_string=doc)]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, f"g{doc}", [value], [result], list(tensors)[::order])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name=f"p{doc}", ir_version=8)
    if doc:
        helper.set_model_props(model, {"note": doc})
        graph_value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [2])
        model.graph.value_info.append(graph_value)
    return model


def digests(model, path):
    onnx.save(model, path)
    return content_digests(path)


def test_notes_and_names_of_versions_do_not_count_as_graph(tmp_path):
    weight = np.ones((1, 2), np.float32)
    one = digests(model_of(matrix(weight)), tmp_path / "a.onnx")
    other = digests(model_of(matrix(weight), doc="noted"), tmp_path / "b.onnx")
    assert (one.weights, one.graph) == (other.weights, other.graph)
    assert one.artifact != other.artifact
    assert digests(model_of(matrix(weight), op="Mul"), tmp_path / "c.onnx").graph != one.graph


def test_weights_count_by_name_dtype_shape_and_value_in_any_order(tmp_path):
    first, second = matrix(np.ones((1, 2), np.float32)), matrix(np.zeros(2, np.float32), name="v")
    base = digests(model_of(first, second), tmp_path / "a.onnx")
    assert digests(model_of(first, second, order=-1), tmp_path / "b.onnx").weights == base.weights
    assert digests(model_of(first, matrix(np.zeros(2, np.float32), name="u")), tmp_path / "c.onnx").weights != base.weights
    assert digests(model_of(first, matrix(np.zeros((2, 1), np.float32), name="v")), tmp_path / "d.onnx").weights != base.weights
    whole = matrix(np.zeros(2, np.int32), name="v", dtype=TensorProto.INT32)
    assert digests(model_of(first, whole), tmp_path / "e.onnx").weights != base.weights


@pytest.mark.parametrize(
    "name", ["float32", "float64", "int64", "int32", "int16", "uint8", "uint32", "uint64", "bool", "float16", "complex64", "complex128"]
)
def test_the_field_that_holds_the_values_does_not_count(tmp_path, name):
    array = np.array([[0, 1, 2, 7]]).astype(name)
    raw = numpy_helper.from_array(array, "w")
    typed = helper.make_tensor("w", raw.data_type, array.shape, array.reshape(-1).tolist())
    assert raw.raw_data
    assert not typed.raw_data
    assert digests(model_of(raw), tmp_path / "a.onnx").weights == digests(model_of(typed), tmp_path / "b.onnx").weights


def test_values_in_several_fields_count_as_protobuf_reads_them(tmp_path):
    """The last of several raw fields is the value; a raw field beside an empty typed one is, too."""
    weight = matrix(np.ones((1, 2), np.float32))
    base = digests(model_of(weight), tmp_path / "a.onnx")
    for place, (before, after) in enumerate(((b"\x4a\x00", b""), (b"", b"\x22\x00"))):
        model = model_of(weight)
        tensor = before + model.graph.initializer[0].SerializeToString() + after
        del model.graph.initializer[:]
        graph = model.graph.SerializeToString() + b"\x2a" + bytes([len(tensor)]) + tensor
        model.ClearField("graph")
        path = tmp_path / f"{place}.onnx"
        path.write_bytes(model.SerializeToString() + b"\x3a" + bytes([len(graph)]) + graph)
        assert onnx.load(path).graph.initializer[0].raw_data == weight.raw_data
        assert content_digests(path).weights == base.weights


def test_texts_and_empty_tensors_have_digests(tmp_path):
    texts = helper.make_tensor("w", TensorProto.STRING, [2], [b"a", b"bc"])
    others = helper.make_tensor("w", TensorProto.STRING, [2], [b"ab", b"c"])
    assert digests(model_of(texts), tmp_path / "a.onnx").weights != digests(model_of(others), tmp_path / "b.onnx").weights
    assert digests(model_of(matrix(np.zeros((0, 2), np.float32))), tmp_path / "c.onnx").weights is not None


def outside(path):
    model = model_of(matrix(np.arange(2000, dtype=np.float32).reshape(1000, 2)))
    inside = digests(model, path.with_name("inside.onnx"))
    convert_model_to_external_data(model, location="m.data", size_threshold=0)
    onnx.save(model, path)
    return inside


def test_weights_beside_the_file_count_as_if_they_were_inside(tmp_path):
    path = tmp_path / "m.onnx"
    inside = outside(path)
    found = content_digests(path)
    assert (found.weights, found.graph) == (inside.weights, inside.graph)
    data = bytearray((tmp_path / "m.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "m.data").write_bytes(data)
    changed = content_digests(path)
    assert changed.weights != found.weights
    assert changed.artifact != found.artifact
    assert changed.graph == found.graph


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("location", "../m.data", "outside its folder"),
        ("location", "/etc/hostname", "outside its folder"),
        ("location", "", "outside its folder"),
        ("location", "other.data", "which is not there"),
        ("length", str(2**40), "longer than its file"),
        ("offset", "-8", "before the start"),
        ("offset", "many", "invalid literal"),
    ],
)
def test_weights_elsewhere_are_not_read(tmp_path, key, value, message):
    outside(tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    entries = {entry.key: entry for entry in model.graph.initializer[0].external_data}
    entry = entries.get(key) or model.graph.initializer[0].external_data.add(key=key)
    entry.value = value
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnusablePathError, match=message):
        content_digests(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "content",
    [b"", b"junk", b"\x3a\x7fshort", b"\x3a\x02\xff\xff", b"\xff" * 20, b"\x3a\x04\x0a\x02\xff\xff", b"\x08\x08\x42\x02\xff\xff"],
)
def test_what_is_no_onnx_file_has_no_content(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(UnusablePathError, match="cannot be told apart"):
        content_digests(tmp_path / "m.onnx")


# -- PyTorch's archives -------------------------------------------------------------------------------------------------------------


def archive(path, records, compress=()):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in records.items():
            file.writestr(f"m/{name}", content, zipfile.ZIP_DEFLATED if name in compress else zipfile.ZIP_STORED)
    return path


class Call:
    """Pickles as a call of something; with `Storage` inside, as PyTorch's pickler writes a tensor."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class _Pickler(pickle.Pickler):
    def persistent_id(self, found):
        return ("storage", found.kind, *found.about) if isinstance(found, Storage) else None


class Storage:
    def __init__(self, key="0", numel=4, kind=torch.FloatStorage):
        self.kind = kind
        self.about = key, "cpu", numel


def pickled(value):
    out = io.BytesIO()
    _Pickler(out, 2).dump(value)
    return out.getvalue()


def tensor(shape=(2, 2), strides=(2, 1), offset=0, storage=None):
    return Call(torch._utils._rebuild_tensor_v2, storage or Storage(), offset, shape, strides, False, {})


def script(path, value, **further):
    records = {"code/m.py": b"code", "version": b"3", "data.pkl": pickled(value), "constants.pkl": pickled(()), "data/0": bytes(range(16))}
    return archive(path, records, **further)


def test_nothing_in_a_pickle_is_run(tmp_path):
    marker = tmp_path / "ran"
    path = script(tmp_path / "m.ts", {"w": tensor(), "evil": Call(open, str(marker), "w")})
    content = format_for(path).read_content(path)
    assert set(content.tensors) == {"w"}
    assert not marker.exists()


def test_everything_of_a_pickle_but_its_values_counts_as_graph(tmp_path):
    shared = [1, 2]
    values = [{"w": tensor()}, {"w": tensor(), "k": 2}, {"w": tensor(), "k": [shared, shared]}, {"w": tensor(), "k": torch.FloatStorage}]
    found = {content_digests(script(tmp_path / f"{place}.ts", value)).graph for place, value in enumerate(values)}
    assert len(found) == len(values)
    turned = content_digests(script(tmp_path / "turned.ts", {"w": tensor(strides=(1, 2))}))
    plain = content_digests(tmp_path / "0.ts")
    assert turned.graph == plain.graph
    assert turned.weights != plain.weights


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (tensor(offset=1), "longer than its record"),
        (tensor(offset=-1), "longer than its record"),
        (tensor(strides=(-1, 1)), "longer than its record"),
        (tensor(shape=(2**40, 2**20), strides=(0, 0)), "beyond all measure"),
        (tensor(storage=Storage("7")), "no record 'data/7'"),
        (tensor(shape="no shape"), "cannot be read"),
        (Call(torch._utils._rebuild_tensor_v2, 5), "cannot be read"),
    ],
)
def test_a_tensor_that_lies_is_refused(tmp_path, value, message):
    with pytest.raises(UnusablePathError, match=message):
        content_digests(script(tmp_path / "m.ts", {"w": value}))


def test_empty_tensors_and_unknown_dtypes_have_digests(tmp_path):
    content = format_for(tmp_path / "m.ts").read_content
    empty = content(script(tmp_path / "a.ts", {"w": tensor((0, 4), (4, 1))})).tensors["w"]
    assert empty.sha256 == hashlib.sha256().hexdigest()
    odd = content(script(tmp_path / "b.ts", {"w": tensor(storage=Storage(kind=torch.QInt8Storage))})).tensors["w"]
    assert (odd.dtype, odd.sha256) == ("qint8", hashlib.sha256(bytes(range(16))).hexdigest())


def test_a_pickled_weight_of_an_exported_program_counts_as_its_record(tmp_path):
    config = {"config": {"w": {"path_name": "weight_0", "use_pickle": True, "tensor_meta": None}}}
    records = {
        "models/model.json": b"{}",
        "data/weights/model_weights_config.json": json.dumps(config).encode(),
        "data/weights/weight_0": b"a pickle that is not opened",
    }
    found = format_for(tmp_path / "m.pt2").read_content(archive(tmp_path / "m.pt2", records)).tensors["w"]
    assert found.sha256 == hashlib.sha256(records["data/weights/weight_0"]).hexdigest()


def test_a_program_beyond_all_measure_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("torchport.emit._zip_content._SMALL", 4)
    with pytest.raises(UnusablePathError, match="too large for what it is"):
        content_digests(script(tmp_path / "m.ts", {"w": tensor()}))


def test_broken_archives_are_refused(tmp_path):
    with pytest.raises(UnusablePathError, match="compressed"):
        content_digests(script(tmp_path / "a.ts", {"w": tensor()}, compress={"data/0"}))
    for name, records, message in (
        ("b.ts", {"data.pkl": b""}, "holds no code"),
        ("c.ts", {"code/m.py": b"", "version": b"", "data.pkl": b"\x80\x02(((("}, "pickle of the archive"),
        ("d.ts", {"code/m.py": b""}, "no record 'version'"),
        ("e.pt2", {"serialized_exported_program.json": b"{}"}, "not laid out as"),
    ):
        with pytest.raises(UnusablePathError, match=message):
            content_digests(archive(tmp_path / name, records))


def test_a_large_view_is_hashed_in_pieces_in_row_order(tmp_path):
    rows, columns = 3, 2**21
    values = np.arange(rows * columns, dtype=np.float32).reshape(columns, rows)
    path = archive(
        tmp_path / "m.ts",
        {
            "code/m.py": b"",
            "version": b"3",
            "constants.pkl": pickled(()),
            "data.pkl": pickled({"w": tensor((rows, columns), (1, rows), storage=Storage(numel=rows * columns))}),
            "data/0": values.tobytes(),
        },
    )
    found = format_for(path).read_content(path).tensors["w"]
    assert found.sha256 == hashlib.sha256(np.ascontiguousarray(values.T).tobytes()).hexdigest()
