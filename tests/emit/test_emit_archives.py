"""TorchScript and pt2 archives: aligned, loadable, the same every time, nothing private inside."""

from __future__ import annotations

import zipfile
from typing import NamedTuple

import pytest
import torch
from prepared_by_hand import Renamed, options, prepare, tied, tiny

from torchport.capture import Captured, strategies
from torchport.emit import formats, read_metadata
from torchport.emit._torchscript_names import rename_classes
from torchport.errors import EmitError

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")


def export(prepared, directory, strategy="trace", format="torchscript", stem="m"):
    asked = options(f"{stem}{formats[format].suffixes[0]}")
    captured = strategies[strategy].capture(prepared, formats[format].form, asked)
    assert isinstance(captured, Captured), captured
    return formats[format].write(captured, directory, stem, asked, {"a": "b"})


@pytest.mark.parametrize(
    ("format", "strategy"), [("torchscript", "trace"), ("torchscript", "script"), ("exported_program", "torch_export")]
)
def test_every_record_is_aligned_and_stored(format, strategy, tmp_path):
    path = export(tiny(), tmp_path, strategy, format).path
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            name, extra = (
                int.from_bytes(content[info.header_offset + place : info.header_offset + place + 2], "little") for place in (26, 28)
            )
            start = info.header_offset + 30 + name + extra
            assert start % 64 == 0, info.filename
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)


def test_torchscript_answers_as_the_model_with_tied_weights(tmp_path):
    prepared = tied()
    path = export(prepared, tmp_path).path
    loaded = torch.jit.load(str(path))
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids), prepared.native_forward(ids))


def test_tied_weights_stay_tied_in_torchscript(tmp_path):
    loaded = torch.jit.load(str(export(tied(), tmp_path).path))
    assert loaded.embed.weight.data_ptr() == loaded.head.weight.data_ptr()


def test_the_file_name_does_not_change_the_bytes(tmp_path):
    first, second = export(tiny(), tmp_path, stem="first"), export(tiny(), tmp_path, stem="second")
    assert list(first.digests.values()) == list(second.digests.values())


def test_debug_records_and_the_example_are_dropped(tmp_path):
    with zipfile.ZipFile(export(tiny(), tmp_path).path) as archive:
        names = archive.namelist()
    assert not [name for name in names if name.endswith(".debug_pkl") or "traced_inputs" in name]


def test_the_pt2_file_does_not_carry_the_example(tmp_path):
    with zipfile.ZipFile(export(tiny(), tmp_path, "torch_export", "exported_program").path) as archive:
        assert [info.file_size for info in archive.infolist() if "sample_inputs" in info.filename] in ([], [0])


def test_classes_have_plain_names_whatever_was_compiled_before(tmp_path):
    for _ in range(2):
        torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    with zipfile.ZipFile(export(tied(), tmp_path).path) as archive:
        code = [name for name in archive.namelist() if "/code/" in name]
    assert not [name for name in code if "mangle" in name]


class Pair(NamedTuple):
    low: torch.Tensor
    high: torch.Tensor


class Typed(torch.nn.Module):
    """Holds classes in attributes, annotations and values: a named tuple, a dict, two layers of one class."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        self.names = {"a": 1, "b": 2}

    def both(self, x: torch.Tensor) -> Pair:
        return Pair(self.first(x) - self.names["a"], self.second(x) + self.names["b"])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pair = self.both(x)
        return pair.low, pair.high


def test_scripted_classes_of_one_name_and_named_tuples_survive_the_renaming(tmp_path):
    model = Typed().eval()
    prepared = prepare(model, {"x": torch.rand(2, 3)}, {"x": "batch 3"}, {"low": "batch 3", "high": "batch 3"})
    torch.jit.script(Typed())
    loaded = torch.jit.load(str(export(prepared, tmp_path, "script").path))
    x = torch.rand(5, 3)
    with torch.no_grad():
        for one, other in zip(loaded(x), Typed.forward(model, x), strict=True):
            torch.testing.assert_close(one, other)


def test_a_scripted_forward_for_export_survives_too(tmp_path):
    model = Renamed().eval()
    prepared = prepare(model, {"x": torch.rand(2, 3)}, {"x": "batch 3"}, {"y": "batch 3"}, forward=model.forward_for_export)
    loaded = torch.jit.load(str(export(prepared, tmp_path, "script").path))
    x = torch.rand(4, 3) * 9
    assert torch.equal(loaded(x), Renamed().forward_for_export(x))


def test_two_traced_classes_of_one_name_get_numbers_in_order():
    records = {
        "data.pkl": b"\x80\x02c__torch__.___torch_mangle_9\nNet\nq\x00)\x81.",
        "code/__torch__/___torch_mangle_9.py": b"class Net(Module):\n"
        b"  a : __torch__.___torch_mangle_4.Part\n  b : __torch__.___torch_mangle_2.Part\n",
        "code/__torch__/___torch_mangle_2.py": b"class Part(Module):\n  pass\n",
        "code/__torch__/___torch_mangle_4.py": b"class Part(Module):\n  training : bool\n",
    }
    assert rename_classes(records) == {
        "data.pkl": b"\x80\x02c__torch__\nNet\nq\x00)\x81.",
        "code/__torch__.py": b"class Net(Module):\n  a : __torch__.Part\n  b : __torch__.___torch_mangle_0.Part\n"
        b"class Part(Module):\n  training : bool\n",
        "code/__torch__/___torch_mangle_0.py": b"class Part(Module):\n  pass\n",
    }


def test_a_class_in_a_pickled_string_is_renamed_with_its_length():
    name = b"Dict[str, __torch__.___torch_mangle_7.Net]"
    records = {
        "data.pkl": b"\x80\x02X" + len(name).to_bytes(4, "little") + name + b".",
        "code/__torch__/___torch_mangle_7.py": b"class Net(Module):\n  pass\n",
    }
    new = b"Dict[str, __torch__.Net]"
    assert rename_classes(records)["data.pkl"] == b"\x80\x02X" + len(new).to_bytes(4, "little") + new + b"."


def test_a_foreign_archive_has_no_metadata(tmp_path):
    path = tmp_path / "plain.ts"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), str(path))
    assert read_metadata(path) == {}


def test_something_else_is_refused(tmp_path):
    path = tmp_path / "m.ts"
    path.write_bytes(b"not an archive")
    with pytest.raises(EmitError, match="this is not a torchscript file"):
        read_metadata(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_metadata(tmp_path / "none.ts")


@pytest.mark.filterwarnings("ignore:.*deprecated and will be removed:UserWarning")
def test_a_quantised_model_keeps_the_classes_that_are_torchs_own(tmp_path):
    linear = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
    model = torch.ao.quantization.quantize_dynamic(linear, {torch.nn.Linear})
    x = torch.rand(3, 4)
    expected = model(x)
    prepared = prepare(model, {"x": x}, {"x": "batch 4"}, {"y": "batch 2"})
    assert torch.equal(torch.jit.load(str(export(prepared, tmp_path).path))(x), expected)
