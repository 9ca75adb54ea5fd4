"""What models under NeMo's names say of their artifacts' use; `tests/nemo` holds the real ones."""

from types import SimpleNamespace

import nemo_likes as likes
import pytest
import torch
from torch import nn

import torchport
from torchport.metadata import stated_metadata

CONFIG = {
    "sample_rate": 16000,
    "labels": ["a", "b"],
    "preprocessor": {"window_size": 0.025, "window_stride": 0.01, "features": 6},
    "encoder": {"subsampling_factor": 3},
}


def stated(model, path, **arguments):
    result = torchport.export(model.eval(), path / "m.onnx", **arguments)
    return [stated_metadata(part.artifact.metadata, where="m.onnx") for part in result.parts]


def ctc():
    model = likes.CTCModel()
    model.cfg = CONFIG
    model.decoder.vocabulary, model.decoder.num_classes_with_blank = list("abcd"), 5
    return model


def transducer(prediction=likes.Prediction, **decoding):
    model = likes.RNNTModel(prediction())
    model.joint.vocabulary, model.joint.num_classes_with_blank = list("abcd"), 5
    model.decoding = SimpleNamespace(decoding=SimpleNamespace(max_symbols=7), **decoding)
    return model


def test_a_ctc_model_says_how_its_scores_become_text(tmp_path):
    (said,) = stated(ctc(), tmp_path)
    assert said["task"] == "ctc"
    assert said["vocabulary"] == {"blank": 4, "kind": "characters", "tokens": list("abcd")}
    assert said["ports"] == {
        "features": "audio_signal",
        "feature_lengths": "length",
        "scores": "logprobs",
        "score_lengths": "encoded_lengths",
    }
    assert (said["subsampling"], said["sample_rate"], said["features"]["hop_length"]) == (2, 16000, 160)
    assert said["model_class"].endswith("CTCModel")
    assert said["versions"]["torch"] == torch.__version__
    assert "labels" not in said


@pytest.mark.parametrize(("tokenizer", "kind"), [("bpe", "sentencepiece"), ("wpe", "wordpiece"), ("agg", "sentencepiece")])
def test_the_tokenizer_says_how_tokens_are_joined(tmp_path, tokenizer, kind):
    model = ctc()
    model.tokenizer_type = tokenizer
    assert stated(model, tmp_path)[0]["vocabulary"]["kind"] == kind


def test_ports_that_the_caller_named_otherwise_are_left_out(tmp_path):
    (said,) = stated(likes.LabelModel(), tmp_path)
    assert said["ports"] == {"features": "audio_signal", "feature_lengths": "length", "scores": "logprobs"}
    assert "vocabulary" not in said


def test_both_parts_of_a_transducer_say_how_to_search(tmp_path):
    encoder, step = stated(transducer(), tmp_path)
    assert (encoder["task"], step["task"]) == ("transducer_encoder", "transducer_step")
    assert encoder["transducer"] == step["transducer"] == {"kind": "rnnt", "max_symbols": 7, "start": 4}
    assert [state["shape"] for state in step["states"]] == [[1, "batch", 6], [1, "batch", 6]]
    assert step["ports"]["scores"] == "outputs"


def test_a_prediction_without_recurrence_starts_with_the_blank_as_context(tmp_path):
    step = stated(transducer(likes.StatelessPrediction), tmp_path)[1]
    assert step["states"] == [{"input": "input_states_1", "output": "output_states_1", "shape": ["batch", 1], "dtype": "int64", "fill": 4}]


def test_durations_make_it_another_search(tmp_path):
    model = transducer(durations=[0, 1, 2])
    model.joint.num_extra_outputs, model.joint.num_classes_with_blank = 3, 8
    said = stated(model, tmp_path)[1]
    assert said["transducer"] == {"kind": "tdt", "durations": [0, 1, 2], "max_symbols": 7, "start": 4}
    assert said["vocabulary"]["blank"] == 4


def test_a_search_that_is_not_known_here_is_not_described(tmp_path):
    assert "transducer" not in stated(transducer(big_blank_durations=[2, 4]), tmp_path)[1]


def test_a_start_that_is_no_token_is_not_stated(tmp_path):
    model = transducer()
    model.decoder.blank_as_pad = False
    assert "start" not in stated(model, tmp_path)[1]["transducer"]


def test_a_streaming_encoder_says_how_its_chunks_are_cut_and_what_its_caches_hold_first(tmp_path):
    encoder = likes.Encoder()
    encoder.export_cache_support = True
    (said,) = stated(encoder, tmp_path)
    assert said["streaming"] == {"chunk": 8, "shift": 8, "before": 3, "dropped": 1, "valid": 4}
    assert [(state["input"], state["shape"], state["fill"]) for state in said["states"]] == [
        ("cache_last_channel", ["batch", 1, 4, 8], 0),
        ("cache_last_time", ["batch", 1, 8, 2], 0),
        ("cache_last_channel_len", ["batch"], 0),
    ]


def test_a_streaming_encoder_that_drops_nothing_is_made_for_the_first_chunk(tmp_path):
    encoder = likes.Encoder()
    encoder.export_cache_support, encoder.streaming_cfg.drop_extra_pre_encoded = True, 0
    (said,) = stated(encoder, tmp_path)
    assert said["streaming"] == {"chunk": 6, "shift": 8, "before": 0, "dropped": 0, "valid": 4}


def test_a_reduction_inside_the_encoder_counts(tmp_path):
    encoder = likes.Encoder()
    encoder.reduction_subsampling = nn.Identity()
    encoder.reduction_subsampling._sampling_num = 1
    assert stated(encoder, tmp_path)[0]["subsampling"] == 4


class EncDecClassificationModel(likes.LabelModel):
    __module__ = "nemo.collections.asr.models.classification_models"


def test_a_classifier_says_its_labels(tmp_path):
    model = EncDecClassificationModel()
    model.cfg = CONFIG
    (said,) = stated(model, tmp_path)
    assert (said["task"], said["labels"]) == ("classification", ["a", "b"])


def test_a_model_that_makes_spectrograms_says_its_symbols(tmp_path):
    model = likes.FastPitchModel()
    model.vocab = SimpleNamespace(tokens=["x", "y"])
    (said,) = stated(model, tmp_path)
    assert (said["task"], said["vocabulary"]) == ("spectrogram", {"kind": "characters", "tokens": ["x", "y"]})


def test_any_other_module_says_what_it_is(tmp_path):
    assert stated(likes.Decoder(), tmp_path)[0]["task"] == "module"


class Own(likes.CTCModel):
    def export_metadata(self):
        return {"task": "mine"}


def test_a_hook_of_the_users_own_wins(tmp_path):
    (said,) = stated(Own(), tmp_path)
    assert said["task"] == "mine"
    assert said["ports"]["scores"] == "logprobs"
