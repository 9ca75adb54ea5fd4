"""The speaker encoder, with its trained weights, against resemblyzer 0.1.4 (``tests/data/README.md`` says how the references were made)."""

from __future__ import annotations

import shutil
import sys
import wave
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch
from plain_exporters import assert_same, eager, scripted, traced_onnx, traced_script

import torchport
from torchport.errors import ArchiveError, MissingDependencyError, OptionError, PortValueError, UnknownModelError
from torchport.models import _resemblyzer
from torchport.models.model_pt import ModelPT
from torchport.models.pretrained import PretrainedModelInfo
from torchport.models.speaker_encoder import SpeakerEncoder
from torchport.ports import Signature

DATA = Path(__file__).parent.parent / "data"
VOICES = ("low_1", "low_2", "high_1", "high_2")
WAVEFORM_SIZES = ((1, 1), (1, 159), (1, 160), (2, 161), (2, 3999), (5, 1), (5, 2007), (3, 8001), (1, 16000))
MEL_SIZES = ((1, 1), (1, 2), (2, 1), (2, 7), (3, 50), (5, 1), (5, 33), (1, 160))


def recording(name: str) -> torch.Tensor:
    with wave.open(str(DATA / f"voice_{name}.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        return torch.from_numpy(np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768)


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder.from_pretrained("speaker-encoder-en")


@pytest.fixture(scope="module")
def references() -> dict[str, np.ndarray]:
    with np.load(DATA / "speaker_encoder_reference.npz") as file:
        return dict(file)


def ragged(recordings: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The recordings as one padded batch, with noise in the padding."""
    lengths = torch.tensor([len(one) for one in recordings])
    batch = torch.randn(len(recordings), int(lengths.max()), generator=torch.Generator().manual_seed(0))
    for row, one in enumerate(recordings):
        batch[row, : len(one)] = one
    return {"waveform": batch, "waveform_length": lengths}


def waveforms(batch: int, samples: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 100000 + samples)
    lengths = torch.randint((samples + 1) // 2, samples + 1, (batch,), generator=generator)
    lengths[0] = samples
    return {"waveform": 0.1 * torch.randn(batch, samples, generator=generator), "waveform_length": lengths}


# --- the numbers --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("voice", VOICES)
def test_mel_frames_are_those_of_librosa(encoder, references, voice):
    samples = recording(voice)
    mel = encoder.mel(samples.unsqueeze(0), torch.tensor([len(samples)]))[0, ::8].numpy()
    assert_same([references[f"{voice}_mel"]], [mel], voice)


@pytest.mark.parametrize("voice", VOICES)
def test_a_whole_recordings_embedding_is_that_of_resemblyzer(encoder, references, voice):
    with torch.no_grad():
        embedding = encoder(recording(voice).unsqueeze(0))[0].numpy()
    assert_same([references[f"{voice}_whole"]], [embedding], voice)


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("kind", ["utterance", "long", "quiet"])
def test_an_utterances_embedding_is_that_of_resemblyzer(encoder, references, voice, kind):
    samples = recording(voice)
    samples = {"utterance": samples, "long": samples.repeat(3), "quiet": encoder.normalize_volume(samples * 0.01)}[kind]
    assert_same([references[f"{voice}_{kind}"]], [encoder.embed_utterance(samples).numpy()], voice)


def test_two_utterances_of_one_voice_score_higher_than_two_voices(encoder):
    with torch.no_grad():
        embeddings = encoder(**ragged([recording(voice) for voice in VOICES]))
    scores = embeddings @ embeddings.T
    same = [scores[0, 1].item(), scores[2, 3].item()]
    different = scores[:2, 2:].flatten().tolist()
    assert min(same) > max(different) + 0.04, (same, different)


def test_embeddings_have_length_one(encoder):
    with torch.no_grad():
        embeddings = encoder(**ragged([recording(voice) for voice in VOICES]))
    assert embeddings.norm(dim=1).tolist() == pytest.approx([1.0] * 4, abs=1e-6)


def test_a_row_of_a_ragged_batch_gets_the_embedding_that_it_gets_alone(encoder):
    recordings = [recording(voice)[:samples] for voice, samples in zip(VOICES, (20000, 160, 7777, 1), strict=True)]
    with torch.no_grad():
        together = encoder(**ragged(recordings))
        alone = torch.cat([encoder(one.unsqueeze(0)) for one in recordings])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-6)


def test_mel_frames_give_the_same_embedding_as_the_waveform(encoder):
    inputs = ragged([recording(voice) for voice in VOICES])
    with torch.no_grad():
        mel = encoder.mel(**{"waveform": inputs["waveform"], "lengths": inputs["waveform_length"]})
        torch.testing.assert_close(encoder(mel=mel, mel_length=encoder.mel.frames(inputs["waveform_length"])), encoder(**inputs))


def test_mel_frames_without_lengths_are_full_rows(encoder):
    mel = torch.rand(2, 9, 40)
    with torch.no_grad():
        assert torch.equal(encoder(mel=mel), encoder(mel=mel, mel_length=torch.tensor([9, 9])))


def test_a_voices_embedding_is_the_mean_of_its_utterances(encoder):
    one, two = (encoder.embed_utterance(recording(voice)) for voice in ("low_1", "low_2"))
    mean = (one + two) / (one + two).norm()
    torch.testing.assert_close(encoder.embed_speaker([recording("low_1"), recording("low_2")]), mean)


def test_a_silent_embedding_is_zero_not_nan():
    model = SpeakerEncoder({"hidden": 4, "embedding": 3, "layers": 1})
    torch.nn.init.zeros_(model.linear.weight)
    torch.nn.init.constant_(model.linear.bias, -1.0)
    assert model(torch.zeros(1, 400)).tolist() == [[0.0, 0.0, 0.0]]


def test_volume_is_only_raised(encoder):
    loud, silent = recording("high_1"), torch.zeros(100)
    assert torch.equal(encoder.normalize_volume(loud), loud)
    assert torch.equal(encoder.normalize_volume(silent), silent)
    assert 20 * encoder.normalize_volume(loud * 0.001).square().mean().sqrt().log10().item() == pytest.approx(-30.0, abs=1e-3)


@pytest.mark.parametrize("wrong", [{"rate": 0.5}, {"rate": 400.0}, {"min_coverage": 0.0}, {"min_coverage": 1.5}])
def test_windows_that_cannot_be_are_refused(encoder, wrong):
    with pytest.raises(PortValueError, match="cannot be cut into windows"):
        encoder.embed_utterance(torch.zeros(16000), **wrong)


def test_an_empty_utterance_is_refused(encoder):
    with pytest.raises(PortValueError, match="cannot be cut into windows"):
        encoder.embed_utterance(torch.zeros(0))


def test_nothing_to_embed_is_refused(encoder):
    with pytest.raises(ValueError, match="give `waveform` or `mel`"):
        encoder()


# --- where the weights come from ----------------------------------------------------------------------------------------------------


def test_the_weights_are_found_without_importing_their_package(encoder):
    assert encoder.num_weights == 1_423_616
    assert "resemblyzer" not in sys.modules


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_resemblyzer, "distribution", missing)
    with pytest.raises(MissingDependencyError) as caught:
        SpeakerEncoder.from_pretrained("speaker-encoder-en")
    assert str(caught.value) == (
        "load: the trained weights of the speaker encoder are in the package 'resemblyzer'\n"
        "  where: resemblyzer\n"
        "  found: not installed\n"
        "  expected: resemblyzer 0.1.4\n"
        "  try: pip install --no-deps resemblyzer==0.1.4"
    )


class _Package:
    """What ``importlib.metadata.distribution`` gives, for a package in another folder."""

    version = "0.1.4"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, path: str) -> Path:
        return self.folder / path


def test_a_package_without_its_weights_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(_resemblyzer, "distribution", lambda name: _Package(tmp_path))
    with pytest.raises(MissingDependencyError, match="installed without its weights"):
        SpeakerEncoder.from_pretrained("speaker-encoder-en")


def test_another_file_is_refused_before_it_is_opened(monkeypatch, tmp_path):
    file = tmp_path / "resemblyzer" / "pretrained.pt"
    file.parent.mkdir()
    shutil.copy(_resemblyzer._weights_file(), file)
    with file.open("r+b") as opened:
        opened.seek(1000)
        opened.write(b"\xff")
    monkeypatch.setattr(_resemblyzer, "distribution", lambda name: _Package(tmp_path))
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("the file was opened"))
    with pytest.raises(ArchiveError, match=_resemblyzer.RESEMBLYZER_SHA256):
        SpeakerEncoder.from_pretrained("speaker-encoder-en")


def test_every_listed_model_can_be_built_and_comes_back_from_its_archive(tmp_path):
    for info in SpeakerEncoder.list_available_models():
        model = SpeakerEncoder.from_pretrained(info.pretrained_model_name)
        assert not model.training
        restored = ModelPT.restore_from(model.save_to(tmp_path / "model.nemo"))
        assert isinstance(restored, SpeakerEncoder)
        assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), restored.state_dict().values(), strict=True))


def test_a_model_that_is_not_listed_is_refused():
    with pytest.raises(UnknownModelError, match="speaker-encoder-en"):
        SpeakerEncoder.build_pretrained(PretrainedModelInfo("speaker-encoder-xx"))


# --- export -------------------------------------------------------------------------------------------------------------------------


def test_a_deployment_takes_the_waveform_and_its_length(encoder):
    signature = Signature.of(inputs=encoder.input_types, outputs=encoder.output_types).without(encoder.disabled_deployment_input_names)
    assert list(signature.inputs) == ["waveform", "waveform_length"]
    assert signature.dynamic_axes() == {
        "waveform": {0: "batch", 1: "waveform_time"},
        "waveform_length": {0: "batch"},
        "embedding": {0: "batch"},
    }
    assert signature.length_of("waveform_length") == ("waveform", 1)


def test_without_the_front_end_a_deployment_takes_mel_frames_and_their_length():
    model = SpeakerEncoder({"front_end": False, "hidden": 8})
    signature = Signature.of(inputs=model.input_types, outputs=model.output_types).without(model.disabled_deployment_input_names)
    assert list(signature.inputs) == ["mel", "mel_length"]
    assert [axis.size for axis in signature.inputs["mel"].axes] == [None, None, 40]
    assert {name: tuple(tensor.shape) for name, tensor in model.input_example(2, 5)[0].items()} == {"mel": (2, 5, 40), "mel_length": (2,)}


def test_the_front_end_is_an_export_setting():
    model = SpeakerEncoder({"hidden": 8})
    assert list(model.input_example(2, 5)[0]) == ["waveform", "waveform_length"]
    model.set_export_config({"front_end": False})
    assert list(model.input_example(2, 5)[0]) == ["mel", "mel_length"]
    assert model.disabled_deployment_input_names == {"waveform", "waveform_length"}


def test_an_example_needs_a_row_and_a_frame(encoder):
    with pytest.raises(OptionError, match="max_batch=0"):
        encoder.input_example(0)


@pytest.mark.parametrize("opset", [13, 17])
def test_onnx_takes_a_waveform_and_equals_the_model(encoder, opset):
    axes = {"waveform": {0: "batch", 1: "time"}, "waveform_length": {0: "batch"}, "embedding": {0: "batch"}}
    run = traced_onnx(encoder, "forward", encoder.input_example()[0], axes, ["embedding"], opset)
    for size in WAVEFORM_SIZES:
        inputs = waveforms(*size)
        assert_same(eager(encoder, "forward", inputs), run(inputs), size)
    inputs = ragged([recording(voice) for voice in VOICES])
    (embeddings,) = run(inputs)
    assert_same(eager(encoder, "forward", inputs), [embeddings], "recordings")
    scores = embeddings @ embeddings.T
    assert min(scores[0, 1], scores[2, 3]) > scores[:2, 2:].max() + 0.04


def test_onnx_of_mel_frames_equals_the_model():
    model = SpeakerEncoder.from_pretrained("speaker-encoder-en")
    model.set_export_config({"front_end": False})
    axes = {"mel": {0: "batch", 1: "time"}, "mel_length": {0: "batch"}, "embedding": {0: "batch"}}
    run = traced_onnx(model, "forward", model.input_example()[0], axes, ["embedding"], 17)
    for size in MEL_SIZES:
        inputs = model.input_example(*size)[0]
        assert_same(eager(model, "forward", inputs), run(inputs), size)


@pytest.mark.parametrize("capture", ["trace", "script"])
def test_torchscript_takes_a_waveform_and_equals_the_model(encoder, capture):
    run = traced_script(encoder, "forward", encoder.input_example()[0]) if capture == "trace" else scripted(encoder, "forward")
    for size in WAVEFORM_SIZES:
        inputs = waveforms(*size)
        assert_same(eager(encoder, "forward", inputs), run(inputs), size)


def test_pt2_equals_the_model_down_to_one_sample(tmp_path):
    model = SpeakerEncoder({"hidden": 4, "embedding": 3, "layers": 1, "window": 32, "hop": 16, "mels": 4}).eval()
    result = model.export(tmp_path / "m.pt2", input_example=model.input_example(max_dim=3))
    assert result.signature.symbols["waveform_time"].min == 1
    waveform, length = torch.rand(2, 1), torch.tensor([1, 1])
    with torchport.load(result.path) as run:
        torch.testing.assert_close(
            torch.tensor(run(waveform=waveform, waveform_length=length)["embedding"]), model(waveform, length).detach()
        )
