"""Every family of NeMo that is built here becomes a graph that equals the eager model, masks, lengths, caches and all."""

import nemo_models as zoo
import numpy as np
import onnxruntime
import pytest
import torch

import torchport
from torchport.prepare import state_digest

pytestmark = pytest.mark.filterwarnings("ignore")

REFUSED = {
    "ctc-conformer-vggnet": "the model itself fails",
}
"""What cannot be exported, and a word of the reason."""

SIZES = ((1, 83), (4, 38), (2, 157))


def outputs_of(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = {one.name for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    answer = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in wanted})
    return dict(zip(names, answer, strict=True))


@pytest.mark.parametrize("name", [name for name in zoo.MODELS if name not in REFUSED])
def test_the_graph_equals_the_eager_model(tmp_path, name):
    model = zoo.build(name)
    before = state_digest(model)
    result = torchport.export(model, tmp_path / "m.onnx")
    assert state_digest(model) == before
    for part in result.parts:
        assert part.proof.ok
        for seed, (batch, size) in enumerate(SIZES):
            size = 25 if name.startswith("tts-fastpitch") else size
            inputs = zoo.inputs_for(model, part.name, batch, size, seed)
            expected = zoo.eager(model, part.name, inputs)
            got = outputs_of(part.artifact.path, inputs)
            assert list(got) == [one for one in expected if one in got]
            assert set(got) == set(expected)
            assert zoo.worst_error(expected, got) < 2e-5


@pytest.mark.parametrize(
    "name",
    [
        "ctc-fastconformer",
        "ctc-citrinet",
        "rnnt-conformer",
        "rnnt-stateless",
        "speaker-ecapa",
        "tts-fastpitch-speakers",
        "tts-fastpitch-ragged",
    ],
)
def test_torchscript_equals_the_eager_model(tmp_path, name):
    model = zoo.build(name)
    for part in torchport.export(model, tmp_path / "m.ts").parts:
        assert part.proof.ok
        script, names = torch.jit.load(part.artifact.path), list(part.artifact.signature.outputs)
        for seed, (batch, size) in enumerate(SIZES):
            size = 25 if name.startswith("tts-fastpitch") else size
            inputs = zoo.inputs_for(model, part.name, batch, size, seed)
            expected = zoo.eager(model, part.name, inputs)
            with torch.no_grad():
                answer = script(*(inputs[one] for one in part.artifact.signature.inputs))
            answer = answer if isinstance(answer, tuple) else (answer,)
            got = {one: value.numpy() for one, value in zip(names, answer, strict=True)}
            assert set(got) == set(expected)
            assert zoo.worst_error(expected, got) < 2e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused_with_the_reason(tmp_path, name):
    with pytest.raises(torchport.TorchportError) as caught:
        torchport.export(zoo.build(name), tmp_path / "m.onnx")
    assert REFUSED[name] in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["ctc-quartznet", "ctc-conformer"])
def test_padding_changes_no_row(tmp_path, name):
    model = zoo.build(name)
    path = torchport.export(model, tmp_path / "m.onnx").parts[0].artifact.path
    signal = torch.randn(1, 80, 60)
    alone = outputs_of(path, {"audio_signal": signal, "length": torch.tensor([60])})
    padded = outputs_of(path, {"audio_signal": torch.cat([signal, torch.randn(1, 80, 40)], 2), "length": torch.tensor([60])})
    frames = int(alone["encoded_lengths"][0])
    assert int(padded["encoded_lengths"][0]) == frames
    np.testing.assert_allclose(alone["logprobs"][:, :frames], padded["logprobs"][:, :frames], atol=2e-5)


def test_the_table_of_positions_is_the_limit_and_can_be_grown(tmp_path):
    encoder = zoo.build("encoder-conformer")
    axis = torchport.export(encoder, tmp_path / "m.onnx").parts[0].artifact.signature.symbols["audio_signal_time"]
    assert axis.max == 4 * 5000
    encoder.set_max_audio_length(6000)
    part = torchport.export(encoder, tmp_path / "grown.onnx").parts[0]
    assert part.artifact.signature.symbols["audio_signal_time"].max == 4 * 6000


def test_a_model_that_has_seen_long_inputs_exports_as_a_fresh_one(tmp_path):
    model = zoo.build("ctc-quartznet")
    zoo.eager(model, "self", zoo.features(model, 2, 700, 0))
    before = model.encoder.max_audio_length
    path = torchport.export(model, tmp_path / "m.onnx").parts[0].artifact.path
    assert model.encoder.max_audio_length == before
    inputs = zoo.features(model, 2, 2000, 1)
    assert zoo.worst_error(zoo.eager(model, "self", inputs), outputs_of(path, inputs)) < 2e-5


def test_chained_chunks_equal_the_eager_chain(tmp_path):
    encoder = zoo.build("encoder-conformer-streaming")
    path = torchport.export(encoder, tmp_path / "m.onnx").parts[0].artifact.path
    config = encoder.streaming_cfg
    chunk, keep = config.chunk_size[1], config.pre_encode_cache_size[1]
    channel, time, filled = encoder.get_initial_cache_state(batch_size=2)
    state = {"cache_last_channel": channel.transpose(0, 1), "cache_last_time": time.transpose(0, 1), "cache_last_channel_len": filled}
    signal = torch.randn(2, 80, keep + 20 * chunk)
    ours = {name: value.contiguous() for name, value in state.items()}
    for step in range(20):
        piece = signal[:, :, step * chunk : step * chunk + chunk + keep]
        fed = {"audio_signal": piece.contiguous(), "length": torch.full((2,), piece.shape[2])}
        expected = zoo.eager(encoder, "self", {**fed, **state})
        got = outputs_of(path, {**fed, **ours})
        assert zoo.worst_error(expected, got) < 2e-5
        state = {name: expected[next_name(name)] for name in state}
        ours = {name: torch.from_numpy(got[next_name(name)]) for name in ours}


def next_name(name):
    return "cache_last_channel_next_len" if name.endswith("_len") else f"{name}_next"


def test_importing_torchport_leaves_nemo_alone():
    import subprocess
    import sys

    code = "import sys, torchport, torchport.pipeline; sys.exit(any(name.split('.')[0] == 'nemo' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0


def test_the_decoder_of_an_attention_model_is_a_step_over_its_memories(tmp_path):
    from nemo.collections.asr.modules.transformer import get_nemo_transformer

    sizes = {"hidden_size": 24, "inner_size": 48, "num_layers": 2, "num_attention_heads": 4}
    quiet = dict.fromkeys(("embedding_dropout", "ffn_dropout", "attn_score_dropout", "attn_layer_dropout"), 0.0)
    settings = {
        "vocab_size": 2100,
        "max_sequence_length": 512,
        "num_token_types": 0,
        "learn_positional_encodings": False,
        "hidden_act": "relu",
    }
    decoder = get_nemo_transformer(
        pretrained=False, encoder=False, pre_ln_final_layer_norm=True, config_dict={**settings, **sizes, **quiet, "pre_ln": True}
    ).eval()
    part = torchport.export(decoder, tmp_path / "m.onnx").parts[0]
    assert part.artifact.signature.symbols["input_ids_time"].max == 512
    for batch, tokens, frames in ((2, 9, 31), (3, 40, 77)):
        inputs = {
            "input_ids": torch.randint(0, 2100, (batch, tokens)),
            "decoder_mask": torch.ones(batch, tokens, dtype=torch.int64),
            "encoder_embeddings": torch.randn(batch, frames, 24),
            "encoder_mask": (torch.arange(frames)[None] < torch.tensor([frames, frames // 2, 3][:batch])[:, None]).long(),
            "decoder_mems": torch.randn(batch, 4, tokens - 1, 24),
        }
        with torch.no_grad():
            expected = decoder(**inputs)
        assert zoo.worst_error({"last_hidden_states": expected}, outputs_of(part.artifact.path, inputs)) < 2e-5
