"""NeMo's habits, on classes under its names; `tests/nemo` holds the real ones."""

import nemo_likes as likes
import numpy as np
import pytest
import torch
from torch import nn

import torchport
from torchport import TorchportError
from torchport.integrations import integration_for
from torchport.integrations.nemo._tables import most_frames


def ports(part):
    signature = part.artifact.signature
    return list(signature.inputs), list(signature.outputs)


def test_an_encoder_and_its_decoder_are_one_graph_with_lengths(tmp_path):
    model = likes.CTCModel().eval()
    part = torchport.export(model, tmp_path / "m.onnx").parts[0]
    assert ports(part) == (["audio_signal", "length"], ["logprobs", "encoded_lengths"])
    assert part.artifact.signature.symbols["audio_signal_time"].max == 80
    signal = torch.randn(2, 6, 20)
    answer = torchport.load(tmp_path / "m.onnx")({"audio_signal": signal.numpy(), "length": np.array([20, 9])})
    encoded, lengths = model.encoder(audio_signal=signal, length=torch.tensor([20, 9]))
    np.testing.assert_allclose(answer["logprobs"], model.decoder(encoder_output=encoded).detach(), atol=1e-5)
    assert answer["encoded_lengths"].tolist() == lengths.tolist() == [10, 5]


def test_caches_are_ports_of_a_fixed_size(tmp_path):
    encoder = likes.Encoder().eval()
    encoder.export_cache_support = True
    part = torchport.export(encoder, tmp_path / "m.onnx").parts[0]
    signature = part.artifact.signature
    assert signature.inputs["cache_last_channel"].text.split()[0] == "batch"
    assert [axis.size for axis in signature.inputs["cache_last_channel"].axes[1:]] == [1, 4, 8]
    assert list(signature.outputs)[2:] == ["cache_last_channel_next", "cache_last_time_next", "cache_last_channel_next_len"]


def test_a_model_with_its_own_method_for_export_is_taken_at_its_word(tmp_path):
    part = torchport.export(likes.LabelModel().eval(), tmp_path / "m.onnx").parts[0]
    assert ports(part) == (["audio_signal", "length"], ["logprobs"])


@pytest.mark.parametrize("export_params", [True, False])
def test_tables_that_have_grown_limit_nothing(tmp_path, export_params):
    encoder = likes.ConvASREncoder().eval()
    encoder(audio_signal=torch.randn(1, 6, 50), length=torch.tensor([50]))
    torchport.export(encoder, tmp_path / "m.onnx", export_params=export_params)
    assert encoder.max_audio_length == 100
    assert "update_max_sequence_length" not in vars(encoder)


@pytest.mark.parametrize(("prediction", "states"), [(likes.Prediction, 2), (likes.StatelessPrediction, 1)])
def test_a_transducer_becomes_an_encoder_and_a_step_of_decoding(tmp_path, prediction, states):
    result = torchport.export(likes.RNNTModel(prediction()).eval(), tmp_path / "m.onnx")
    assert [part.artifact.path.name for part in result.parts] == ["encoder-m.onnx", "decoder_joint-m.onnx"]
    inputs, outputs = ports(result.parts[1])
    assert inputs == ["encoder_outputs", "targets", "target_length", *(f"input_states_{one + 1}" for one in range(states))]
    assert outputs == ["outputs", "prednet_lengths", *(f"output_states_{one + 1}" for one in range(states))]
    assert result.parts[1].artifact.signature.inputs["targets"].dtype == "int32"


def test_types_that_are_said_while_preparing_are_read(tmp_path):
    model = likes.FastPitchModel().eval()
    assert ports(torchport.export(model, tmp_path / "m.onnx").parts[0]) == (["text", "pitch"], ["spect"])
    assert model.input_types is None


def test_a_front_end_takes_waveforms(tmp_path):
    part = torchport.export(likes.AudioPreprocessor().eval(), tmp_path / "m.onnx").parts[0]
    assert ports(part) == (["input_signal", "length"], ["processed_signal", "processed_length"])


def test_a_diarizer_takes_features_and_gives_probabilities_with_their_lengths(tmp_path):
    part = torchport.export(likes.SortformerEncLabelModel().eval(), tmp_path / "m.onnx").parts[0]
    assert ports(part) == (["processed_signal", "processed_signal_length"], ["preds", "preds_lengths"])
    assert part.artifact.signature.symbols["processed_signal_time"].max == 80


def test_any_other_module_goes_by_its_types_and_its_example(tmp_path):
    assert ports(torchport.export(likes.Decoder().eval(), tmp_path / "m.onnx").parts[0]) == (["encoder_output"], ["logprobs"])


def test_the_callers_types_and_example_win(tmp_path):
    types = {"encoder_output": "batch 8 frames"}
    result = torchport.export(
        likes.Decoder().eval(), tmp_path / "m.onnx", input_types=types, input_example={"encoder_output": torch.randn(2, 8, 7)}
    )
    assert list(result.parts[0].artifact.signature.symbols)[:2] == ["batch", "frames"]


class AttentionModel(likes.NeuralModule, likes.ExportableEncDecModel):
    output_module = None

    def __init__(self):
        super().__init__()
        self.encoder = likes.Encoder()


class Untyped(likes.NeuralModule):
    input_types = output_types = None


class Silent(likes.Decoder):
    def input_example(self):
        return None


class Faulty(likes.Decoder):
    def input_example(self):
        return [torch.randn(2, 8, 5)][1]


class Talkative(likes.Decoder):
    def input_example(self):
        return torch.randn(2, 8, 5), torch.randn(2)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (AttentionModel(), "does not say which module gives its outputs"),
        (Untyped(), "has no neural types"),
        (Silent(), "gives no example"),
        (Faulty(), "input_example raised IndexError"),
        (Talkative(), "more inputs than there are types"),
    ],
)
def test_what_a_module_does_not_say_is_asked_for(tmp_path, module, message):
    with pytest.raises(TorchportError, match=message):
        torchport.export(module.eval(), tmp_path / "m.onnx")


def test_a_keyword_that_no_hook_names_is_refused(tmp_path):
    with pytest.raises(TorchportError, match="takes 'nonsense'"):
        torchport.export(likes.Decoder().eval(), tmp_path / "m.onnx", nonsense=1)


@pytest.mark.parametrize(
    ("positions", "frames"),
    [
        (likes.PositionalEncoding(40), 80),
        (likes.RelPositionalEncoding(79), 80),
        (likes.LocalAttRelPositionalEncoding(17), None),
        (nn.Identity(), None),
        (None, None),
    ],
)
def test_a_table_of_positions_ends_somewhere(positions, frames):
    encoder = likes.Encoder()
    encoder.pos_enc = positions
    assert most_frames(encoder) == frames


def test_a_cache_takes_positions_too():
    encoder = likes.Encoder()
    encoder.export_cache_support = True
    assert most_frames(encoder) == 2 * (40 - 4)


def test_the_width_of_features_is_read_off_the_first_layer():
    from torchport.integrations.nemo._families import _first_width

    assert [_first_width(one) for one in (nn.Conv1d(7, 3, 1), nn.Linear(5, 3), nn.Identity())] == [7, 5, 80]


def test_states_are_what_a_network_can_have_made():
    from torchport.integrations.nemo._states import CacheLength, RecurrentState

    generator = torch.Generator().manual_seed(0)
    state = RecurrentState().sample((2, 4, 8), torch.float32, generator)
    assert state.abs().max() <= 1
    assert not state[:, 1::2].any()
    lengths = CacheLength(5).sample((6,), torch.int64, generator)
    assert (int(lengths.max()), int(lengths.min())) == (5, 0)
    assert CacheLength(5) != CacheLength(4)
    assert integration_for(likes.Decoder()).name == "nemo"


def nemo_archive(tmp_path, target):
    from torchport.models.archive import write_archive

    return write_archive(tmp_path / "m.nemo", {"target": target}, {"weight": torch.ones(2)}, {})


@pytest.mark.parametrize(("target", "foreign"), [("nemo.collections.asr.models.Model", True), ("somebody.Model", False)])
def test_an_archive_of_nemos_is_known_by_the_class_that_it_names(tmp_path, target, foreign):
    from torchport.integrations.nemo.archive import is_nemo_archive

    assert is_nemo_archive(nemo_archive(tmp_path, target)) is foreign


def test_without_nemo_its_archives_name_what_to_install(tmp_path, capsys, monkeypatch):
    import sys

    from torchport.cli import app

    monkeypatch.setitem(sys.modules, "nemo", None)
    path = nemo_archive(tmp_path, "nemo.collections.asr.models.Model")
    assert app(["export", str(path), "-o", str(tmp_path / "m.onnx")], standalone_mode=False) == 2
    error = capsys.readouterr().err
    assert "which only NeMo can build" in error
    assert "pip install" in error


def test_nemo_is_asked_for_the_model_and_its_failure_is_the_archives(tmp_path, monkeypatch):
    import sys
    import types

    from torchport.errors import ArchiveError
    from torchport.integrations.nemo.archive import restore_nemo_archive

    asked = []

    class Restoring:
        @staticmethod
        def restore_from(path, override_config_path, map_location):
            asked.append((path, override_config_path, map_location))
            if override_config_path:
                raise ValueError("no such layer")
            return nn.Linear(2, 2)

    core = types.ModuleType("nemo.core")
    core.ModelPT = Restoring
    monkeypatch.setitem(sys.modules, "nemo", types.ModuleType("nemo"))
    monkeypatch.setitem(sys.modules, "nemo.core", core)
    path = nemo_archive(tmp_path, "nemo.collections.asr.models.Model")
    assert not restore_nemo_archive(path).training
    with pytest.raises(ArchiveError, match="no such layer"):
        restore_nemo_archive(path, tmp_path / "other.yaml")
    assert asked == [(str(path), None, "cpu"), (str(path), str(tmp_path / "other.yaml"), "cpu")]
