"""Models under NeMo's names that start at the waveform: front end and encoder in one graph."""

import nemo_likes as likes
import numpy as np
import pytest
import torch

import torchport
from torchport.errors import HookError, PortValueError
from torchport.integrations.nemo import from_waveform
from torchport.metadata import stated_metadata
from torchport.runtime import open_recognizer


def ctc():
    model = likes.CTCModel()
    model.preprocessor = likes.AudioPreprocessor()
    model.decoder.num_classes_with_blank = 5
    return model.eval()


def test_one_graph_takes_the_waveform_and_gives_what_both_give(tmp_path):
    model = ctc()
    part = torchport.export(from_waveform(model), tmp_path / "m.onnx").parts[0]
    assert list(part.artifact.signature.inputs) == ["input_signal", "input_signal_length"]
    assert part.artifact.signature.symbols["input_signal_time"].max == 4 * 79
    said = stated_metadata(part.artifact.metadata, where="m.onnx")
    assert said["ports"] == {
        "waveform": "input_signal",
        "waveform_lengths": "input_signal_length",
        "scores": "logprobs",
        "score_lengths": "encoded_lengths",
    }
    wave, samples = torch.randn(2, 150), torch.tensor([150, 83])
    with torch.no_grad():
        features, lengths = model.preprocessor(input_signal=wave, length=samples)
        encoded, counts = model.encoder(audio_signal=features, length=lengths)
        expected = model.decoder(encoder_output=encoded)
    recognizer = open_recognizer(tmp_path / "m.onnx")
    frames, got, _ = recognizer.run(recognizer.graph, wave.numpy(), samples.numpy(), {})
    np.testing.assert_allclose(frames, expected, atol=1e-5)
    assert got.tolist() == counts.tolist()
    assert len(recognizer(wave.numpy())) == 2
    with pytest.raises(PortValueError, match="waveforms have 2 axes"):
        recognizer(features.numpy())


def test_only_the_first_graph_of_a_transducer_changes(tmp_path):
    model = likes.RNNTModel(likes.Prediction())
    model.preprocessor = likes.AudioPreprocessor()
    encoder, step = torchport.export(from_waveform(model.eval()), tmp_path / "m.onnx").parts
    assert encoder.artifact.path.name == "encoder-m.onnx"
    assert list(encoder.artifact.signature.inputs) == ["input_signal", "input_signal_length"]
    assert stated_metadata(step.artifact.metadata, where="m")["task"] == "transducer_step"


def test_a_stream_is_fed_features(tmp_path):
    model = ctc()
    model.encoder.export_cache_support = True
    with pytest.raises(HookError, match="features and their lengths"):
        torchport.export(from_waveform(model), tmp_path / "m.onnx")


def test_a_model_without_a_front_end_is_refused():
    with pytest.raises(HookError, match="no front end"):
        from_waveform(likes.CTCModel())


def test_the_fused_module_answers_like_the_export(tmp_path):
    fused = from_waveform(ctc()).get_export_subnet("encoder")
    scores, *_ = fused(torch.randn(2, 60), torch.tensor([60, 40]))
    assert scores.shape[0] == 2
