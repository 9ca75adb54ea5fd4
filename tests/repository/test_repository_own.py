"""What torchport itself writes for Triton is clean."""

import pytest
import torch

import torchport
from torchport.repository import check_repository

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")


class Tagger(torch.nn.Module):
    input_types = {"mel": ("batch 8 time", "float32"), "number": ("batch", "int64")}
    output_types = {"scores": ("batch 4", "float32"), "counted": ("batch", "int64")}

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(8, 4)

    def forward(self, mel, number):
        return self.head(mel.mean(2)), number + 1


@pytest.fixture(scope="module", params=["onnx", "ts"])
def repository(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    result = torchport.export(Tagger(), folder / f"tagger.{request.param}")
    result.package(folder / "repository", target="triton", options={"name": "plain"})
    result.package(folder / "repository", target="triton", options={"name": "plain"})  # a second version
    result.package(folder / "repository", target="triton", options={"name": "batched", "max_batch_size": 8, "dynamic_batching": True})
    return folder / "repository"


@pytest.mark.parametrize("auto_complete", [True, False])
def test_a_packaged_model_is_clean(repository, auto_complete):
    report = check_repository(repository, auto_complete=auto_complete)
    assert report.clean, report.text()
    assert set(report.models) == {"plain", "batched"}


def test_what_somebody_breaks_in_it_is_found(repository, tmp_path):
    """One change of every line that matters: nothing of it passes."""
    import shutil

    config = (repository / "batched" / "config.pbtxt").read_text()
    for number, (old, new) in enumerate(
        [
            ('name: "batched"', 'name: "plain"'),
            ('"mel"', '"mels"'),
            ("TYPE_INT64", "TYPE_INT32"),
            ("max_batch_size: 8", "max_batch_size: 0"),
            ("dims: [8, -1]", "dims: [8]"),
            ("dynamic_batching {", "dynamic_batching { preferred_batch_size: 9"),
        ]
    ):
        folder = tmp_path / str(number)
        shutil.copytree(repository, folder)
        assert old in config
        (folder / "batched" / "config.pbtxt").write_text(config.replace(old, new))
        report = check_repository(folder)
        onnx = (folder / "batched" / "1" / "model.onnx").exists()
        noticed = report.errors if onnx or number in (0, 5) else report.models  # a TorchScript file does not say shapes and dtypes
        assert noticed, (old, new)
