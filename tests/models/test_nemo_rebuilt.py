"""NeMo's families, rebuilt from an archive alone: they answer what NeMo's eager models answered when they were recorded."""

from __future__ import annotations

import json
import subprocess
import sys

import golden_archives as golden
import numpy as np
import pytest
import torch
from nemo_rebuilt import calls

import torchport
from torchport.errors import ArchiveError, HookError, UnsupportedOptionError
from torchport.models import ModelPT
from torchport.models.archive import write_archive
from torchport.runtime import open_recognizer

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")

BLOCK = {"filters": 8, "repeat": 1, "kernel": [3], "stride": [1], "dilation": [1], "residual": False}


def chosen(model, part, inputs=()):
    """A hybrid model answers by itself where its CTC decoder is chosen; a voice takes the volume where that is."""
    if hasattr(model, "ctc_decoder"):
        model.set_export_config({"decoder_type": "ctc" if part == "self" else "rnnt"})
    if "cache_last_channel" in inputs:
        model.set_export_config({"cache_support": True})
    if "volume" in inputs:
        model.set_export_config({"enable_volume": True})


def answer(model, call):
    chosen(model, call.part, call.inputs)
    part = model if call.part == "self" else model.get_export_subnet(call.part)
    with torch.no_grad():
        given = part(**call.inputs)
    names = list(part.output_types)
    return dict(zip(names, (given,) if isinstance(given, torch.Tensor) else given, strict=True))


def differs(one, other):
    return any(not torch.equal(one[name], other[name]) for name in one)


def assert_close(expected, got):
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert got[name].numpy().dtype == value.dtype, name
        scale = max(1.0, float(np.abs(value).max()))
        np.testing.assert_allclose(got[name].numpy() / scale, value / scale, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", golden.NAMES)
def test_a_rebuilt_model_answers_what_nemos_did(tmp_path, name):
    model = golden.restored(tmp_path, name)
    for call in calls(name):
        assert_close(golden.answers(name, call.part, call.seed), answer(model, call))


@pytest.mark.parametrize(
    "name", ["ctc-conformer", "ctc-fastconformer", "ctc-jasper", "ctc-citrinet", "tdt-fastconformer", "rnnt-stateless"]
)
def test_every_weight_of_the_graph_matters(tmp_path, name):
    model = golden.restored(tmp_path, name)
    short = [call for call in calls(name) if call.seed == 1]
    before = [answer(model, call) for call in short]
    unseen = []
    for key, tensor in model.named_parameters():
        kept = tensor.data.clone()
        tensor.data += torch.linspace(0.1, 0.7, tensor.numel()).view(tensor.shape)
        if not any(differs(answer(model, call), old) for call, old in zip(short, before, strict=True)):
            unseen.append(key)
        tensor.data = kept
    assert unseen == []


EXPORTED = [
    "ctc-conformer",
    "ctc-conformer-local",
    "ctc-citrinet",
    "ctc-quartznet-layer-norm",
    "ctc-parallel",
    "ctc-recurrent",
    "ctc-conformer-reduction",
    "tdt-fastconformer",
    "rnnt-stateless",
]
EXPORTED += ["speaker-titanet", "speaker-speakernet", "speaker-ecapa", "classification-greatest", "vad-frames-deeper"]
EXPORTED += ["tts-fastpitch-speakers", "tts-hifigan-singles"]


@pytest.mark.parametrize("name", EXPORTED)
def test_a_rebuilt_model_is_exported_and_proved(tmp_path, name):
    result = torchport.export(golden.restored(tmp_path, name), tmp_path / "m.onnx")
    for part in result.parts:
        assert part.proof.ok
        with torchport.load(part.artifact.path) as loaded:
            for call in calls(name):
                if call.part == part.name:
                    got = loaded({key: value.numpy() for key, value in call.inputs.items()})
                    given = {key: torch.from_numpy(np.asarray(value)) for key, value in got.items()}
                    assert_close(golden.answers(name, call.part, call.seed), given)


@pytest.mark.parametrize("name", ["rnnt-citrinet", "tts-hifigan-singles"])
def test_a_rebuilt_model_becomes_torchscript(tmp_path, name):
    result = torchport.export(golden.restored(tmp_path, name), tmp_path / "m.ts")
    assert all(part.proof.ok for part in result.parts)


@pytest.mark.parametrize("decoder", ["rnnt", "ctc"])
def test_a_hybrid_model_is_exported_as_either(tmp_path, decoder):
    model = golden.restored(tmp_path, "hybrid-fastconformer")
    model.set_export_config({"decoder_type": decoder})
    result = torchport.export(model, tmp_path / "m.onnx", verify=False)
    assert [part.name for part in result.parts] == (["self"] if decoder == "ctc" else ["encoder", "decoder_joint"])
    assert next(iter(result.parts[0].artifact.signature.outputs)) == ("logprobs" if decoder == "ctc" else "outputs")


@pytest.mark.parametrize("name", ["ctc-streaming", "ctc-streaming-window"])
def test_chained_chunks_of_a_file_are_those_of_the_model(tmp_path, name):
    model = golden.restored(tmp_path, name)
    model.set_export_config({"cache_support": True})
    result = torchport.export(model, tmp_path / "m.onnx")
    assert result.proof.ok
    plan = model.encoder.chunks
    features = torch.randn(2, 16, plan.before + 6 * plan.shift + plan.chunk, generator=torch.Generator().manual_seed(0))
    caches = plan.first(2)
    given = {key: value.numpy() for key, value in caches.items()}
    with torchport.load(tmp_path / "m.onnx") as loaded, torch.no_grad():
        for step in range(6):
            chunk = features[:, :, step * plan.shift :][:, :, : plan.frames]
            fed = {"audio_signal": chunk, "length": torch.full((2,), plan.frames)}
            expected = dict(zip(model.output_types, model(**fed, **caches), strict=True))
            got = loaded({**{key: value.numpy() for key, value in fed.items()}, **given})
            assert_close({key: value.numpy() for key, value in expected.items()}, {key: torch.from_numpy(got[key]) for key in expected})
            caches = dict(zip(caches, (expected[key] for key in plan.output_types), strict=True))
            given = dict(zip(given, (got[key] for key in plan.output_types), strict=True))


def test_chained_chunks_are_the_whole(tmp_path):
    model = golden.restored(tmp_path, "ctc-streaming")
    features = torch.randn(1, 16, 85, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, _ = model(features, torch.tensor([85]))
        model.set_export_config({"cache_support": True, "first_chunk": True})
        plan = model.encoder.chunks
        caches, pieces, start = plan.first(1), [], 0
        while start + plan.chunk <= 85:
            chunk = features[:, :, start - plan.before : start + plan.chunk]
            logprobs, _, *after = model(chunk, torch.tensor([plan.frames]), **caches)
            caches = dict(zip(caches, after, strict=True))
            pieces.append(logprobs)
            start += plan.shift
            model.set_export_config({"first_chunk": False})
            plan = model.encoder.chunks
    streamed = torch.cat(pieces, dim=1)
    assert streamed.shape[1] >= 20
    torch.testing.assert_close(streamed, whole[:, : streamed.shape[1]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["ctc-conformer", "ctc-conformer-local", "ctc-quartznet", "ctc-conformer-plain"])
def test_an_encoder_that_takes_no_chunks_says_so(tmp_path, name):
    with pytest.raises(HookError, match="takes no chunks"):
        golden.restored(tmp_path, name).set_export_config({"cache_support": True})


def test_caches_are_not_left_unread_in_silence(tmp_path):
    model = golden.restored(tmp_path, "ctc-streaming")
    with pytest.raises(HookError, match="was not told to take chunks"):
        model(**next(calls("ctc-streaming")).inputs)


def test_a_hybrid_model_has_no_third_decoder(tmp_path):
    model = golden.restored(tmp_path, "hybrid-fastconformer")
    model.set_export_config({"decoder_type": "attention"})
    with pytest.raises(HookError, match="rnnt or ctc"):
        model.list_export_subnets()


def test_no_table_of_positions_ends():
    from torchport.models.speech._attention import Sinusoids

    ahead, behind = 7001, 0
    codes = Sinusoids(4, relative=True)(torch.zeros(1, ahead + 1, 4))
    assert codes.shape == (1, 2 * ahead + 1, 4)
    for place, distance in ((0, ahead), (ahead, behind), (2 * ahead, -ahead)):
        angles = np.array([distance, distance * 0.01])
        expected = np.stack([np.sin(angles), np.cos(angles)], axis=1).ravel()
        np.testing.assert_allclose(codes[0, place].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "changes", "where"),
    [
        ("ctc-conformer", {"encoder": {"reduction": "skipping", "reduction_factor": 2}}, "encoder.reduction"),
        ("ctc-conformer", {"encoder": {"subsampling": "vggnet"}}, "encoder.subsampling"),
        ("ctc-conformer", {"encoder": {"subsampling_factor": 6}}, "encoder.subsampling_factor"),
        ("ctc-conformer", {"encoder": {"self_attention_model": "performer"}}, "encoder.self_attention_model"),
        ("ctc-conformer", {"encoder": {"self_attention_model": "rel_pos_local_attn"}}, "encoder.att_context_size"),
        ("ctc-conformer-local", {"encoder": {"global_tokens": 1}}, "encoder.global_tokens"),
        ("ctc-conformer-local", {"encoder": {"att_context_style": "chunked_limited"}}, "encoder.att_context_style"),
        ("ctc-conformer", {"encoder": {"conv_norm_type": "fused_batch_norm"}}, "encoder.conv_norm_type"),
        ("ctc-conformer", {"encoder": {"conv_context_size": [1, 1]}}, "encoder.conv_context_size"),
        ("ctc-conformer", {"encoder": {"att_context_size": [1]}}, "encoder.att_context_size.left"),
        ("ctc-conformer", {"encoder": {"att_context_size": [10**9, 1]}}, "encoder.att_context_size.left"),
        ("ctc-conformer", {"encoder": {"an_option_of_tomorrow": 1}}, "encoder.an_option_of_tomorrow"),
        ("ctc-conformer", {"encoder": {"n_layers": "two"}}, "encoder.n_layers"),
        ("ctc-conformer", {"encoder": {"n_layers": True}}, "encoder.n_layers"),
        ("ctc-conformer", {"encoder": {"n_layers": 0}}, "encoder.n_layers"),
        ("ctc-conformer", {"encoder": {"n_layers": 10**9}}, "encoder.n_layers"),
        ("ctc-conformer", {"encoder": {"_target_": "nemo.collections.asr.modules.SqueezeformerEncoder"}}, "encoder._target_"),
        ("ctc-conformer", {"encoder": "none"}, "encoder"),
        ("ctc-conformer", {"encoder": {"jasper": []}}, "encoder.jasper"),
        (
            "ctc-conformer",
            {"encoder": {"reduction": "pooling", "reduction_factor": 2, "reduction_position": 2}},
            "encoder.reduction_position",
        ),
        ("ctc-recurrent", {"encoder": {"rnn_type": "gru"}}, "encoder.rnn_type"),
        ("ctc-parallel", {"encoder": {"jasper": [{**BLOCK, "aggregation_mode": "max"}]}}, "encoder.jasper.0.aggregation_mode"),
        ("ctc-quartznet", {"encoder": {"conv_mask": False}}, "encoder.conv_mask"),
        ("ctc-quartznet", {"encoder": {"activation": "tanh"}}, "encoder.activation"),
        ("ctc-quartznet", {"encoder": {"jasper": []}}, "encoder.jasper.0"),
        ("ctc-quartznet", {"encoder": {"jasper": [{**BLOCK, "groups": 2}]}}, "encoder.jasper.0.groups"),
        ("ctc-quartznet", {"encoder": {"jasper": [{**BLOCK, "heads": 2}]}}, "encoder.jasper.0.heads"),
        ("ctc-quartznet", {"encoder": {"jasper": [{**BLOCK, "stride": [1, 2]}]}}, "encoder.jasper.0.stride"),
        ("ctc-conformer", {"decoder": {"num_classes": -1, "vocabulary": []}}, "decoder.num_classes"),
        ("rnnt-conformer", {"decoder": {"normalization_mode": "batch"}}, "decoder.normalization_mode"),
        (
            "rnnt-conformer",
            {"decoder": {"prednet": {"pred_hidden": 12, "pred_rnn_layers": 2, "rnn_hidden_size": 20}}},
            "decoder.prednet.rnn_hidden_size",
        ),
        ("rnnt-conformer", {"decoder": {"_target_": "SomeOtherDecoder"}}, "decoder._target_"),
        ("rnnt-stateless", {"decoder": {"context_size": 1}}, "decoder.context_size"),
        ("rnnt-conformer", {"joint": {"_target_": "SampledRNNTJoint"}}, "joint._target_"),
        ("rnnt-conformer", {"joint": {"log_softmax": "yes"}}, "joint.log_softmax"),
        ("hybrid-fastconformer", {"aux_ctc": {"decoder": {"feat_in": 16}}}, "aux_ctc.decoder._target_"),
        ("speaker-titanet", {"decoder": {"pool_mode": "sum"}}, "decoder.pool_mode"),
        ("speaker-titanet", {"decoder": {"emb_sizes": []}}, "decoder.emb_sizes"),
        ("speaker-ecapa", {"encoder": {"filters": "8"}}, "encoder.filters"),
        ("classification-matchboxnet", {"decoder": {"pooling_type": "sum"}}, "decoder.pooling_type"),
        ("vad-frames", {"decoder": {"channel_idx": 1}}, "decoder.channel_idx"),
        ("vad-frames", {"decoder": {"_target_": "nemo.collections.asr.modules.LSTMDecoder"}}, "decoder._target_"),
        ("tts-fastpitch", {"speaker_encoder": {"lookup_module": None}}, "model.speaker_encoder"),
        ("tts-fastpitch", {"input_fft": {"pre_lnorm": True}}, "input_fft.pre_lnorm"),
        ("tts-fastpitch", {"input_fft": {"condition_types": ["add", "layernorm"]}}, "input_fft.condition_types"),
        ("tts-fastpitch", {"pitch_predictor": {"input_size": 8}}, "pitch_predictor.input_size"),
        ("tts-hifigan", {"generator": {"_target_": "nemo.collections.tts.modules.univnet_modules.Generator2"}}, "generator._target_"),
        ("tts-hifigan", {"generator": {"upsample_rates": [0, 2]}}, "generator.upsample_rates"),
        ("ctc-conformer", {"adapters": {"one": {}}}, "model.adapters"),
    ],
)
def test_an_option_that_is_not_rebuilt_is_refused_by_its_name(tmp_path, name, changes, where):
    with pytest.raises(UnsupportedOptionError) as caught:
        ModelPT.restore_from(golden.archive(tmp_path, name, **changes))
    assert caught.value.where == where
    assert where in str(caught.value)


def test_the_tokens_of_a_voice_are_read_off_its_embedding_where_the_config_leaves_them_to_the_tokenizer(tmp_path):
    assert "n_embed" not in golden.config("tts-fastpitch-aligned")["input_fft"]
    model = golden.restored(tmp_path, "tts-fastpitch-aligned")
    tokens = golden.weights("tts-fastpitch-aligned")["fastpitch.encoder.word_emb.weight"].shape[0]
    assert (model.cfg.input_fft.n_embed, model.cfg.input_fft.padding_idx) == (tokens, tokens - 2)
    again = ModelPT.restore_from(model.save_to(tmp_path / "again.nemo"))
    assert again.fastpitch.encoder.padding == tokens - 2


def test_a_voice_whose_padding_cannot_be_told_is_refused(tmp_path):
    state = golden.weights("tts-fastpitch-aligned")
    state["fastpitch.encoder.word_emb.weight"][0] = 0.0
    path = write_archive(tmp_path / "m.nemo", golden.config("tts-fastpitch-aligned"), state, {})
    with pytest.raises(UnsupportedOptionError, match=r"lacks the option input_fft\.padding_idx"):
        ModelPT.restore_from(path)


def test_a_row_of_padding_alone_spoils_no_other(tmp_path):
    model = golden.restored(tmp_path, "tts-fastpitch")
    inputs = dict(next(calls("tts-fastpitch")).inputs)
    alone, *_ = model(**{name: value[:2] for name, value in inputs.items()})
    inputs["text"] = inputs["text"].clone()
    inputs["text"][2] = model.fastpitch.encoder.padding
    spect, frames, *_ = model(**inputs)
    assert int(frames[2]) == 0
    torch.testing.assert_close(spect[:2], alone)


def test_a_voice_takes_no_ragged_batches(tmp_path):
    model = golden.restored(tmp_path, "tts-fastpitch")
    model.set_export_config({"enable_ragged_batches": True})
    with pytest.raises(HookError, match="ragged batches are not rebuilt"):
        torchport.export(model, tmp_path / "m.onnx")


def test_a_voice_with_volume_is_exported(tmp_path):
    model = golden.restored(tmp_path, "tts-fastpitch-volume")
    model.set_export_config({"enable_volume": True})
    signature = torchport.export(model, tmp_path / "m.onnx", verify=False).parts[0].artifact.signature
    assert ("volume" in signature.inputs, "volume_aligned" in signature.outputs) == (True, True)


def test_a_vocoder_whose_weights_are_multiplied_out_is_the_same(tmp_path):
    model = golden.restored(tmp_path, "tts-hifigan")
    path = write_archive(tmp_path / "m.nemo", golden.config("tts-hifigan"), model.state_dict(), {})
    call = next(calls("tts-hifigan"))
    assert torch.equal(answer(ModelPT.restore_from(path).eval(), call)["audio"], answer(model, call)["audio"])


def test_a_stream_over_the_rebuilt_files_hears_what_the_whole_model_does(tmp_path):
    model = golden.restored(tmp_path, "ctc-streaming")
    features = torch.randn(1, 16, 85, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logprobs, _ = model(features, torch.tensor([85]))
    best = logprobs[0, :20].argmax(dim=1).tolist()
    expected = [token for place, token in enumerate(best) if token != 10 and (place == 0 or token != best[place - 1])]
    for file, first in (("first.onnx", True), ("m.onnx", False)):
        model.set_export_config({"cache_support": True, "first_chunk": first})
        torchport.export(model, tmp_path / file, verify=False)
    stream = open_recognizer(tmp_path / "first.onnx", tmp_path / "m.onnx").stream(batch=1)
    heard = stream.feed(features.numpy())[0].tokens
    assert len(expected) > 3
    assert list(heard)[: len(expected)] == expected


def test_an_exported_file_says_what_its_user_has_to_know(tmp_path):
    torchport.export(golden.restored(tmp_path, "ctc-quartznet"), tmp_path / "m.onnx")
    with torchport.load(tmp_path / "m.onnx") as loaded:
        stated = json.loads(loaded.metadata["torchport.metadata"])
    assert (stated["task"], stated["sample_rate"], stated["subsampling"], stated["features"]["bins"]) == ("ctc", 16000, 2, 16)
    assert stated["vocabulary"] == {"kind": "characters", "tokens": [*"abcdefghij"], "blank": 10}


def test_an_option_that_is_missing_is_named(tmp_path):
    made = golden.config("ctc-conformer")
    del made["encoder"]["d_model"]
    with pytest.raises(UnsupportedOptionError, match=r"lacks the option encoder\.d_model"):
        ModelPT.from_config(made)


def test_weights_of_another_size_are_refused(tmp_path):
    with pytest.raises(ArchiveError, match=r"encoder\.layers\.1"):
        ModelPT.restore_from(golden.archive(tmp_path, "ctc-conformer", encoder={"n_layers": 1}))


def test_the_vocabulary_may_say_how_many_tokens_there_are(tmp_path):
    path = golden.archive(tmp_path, "ctc-conformer", decoder={"num_classes": -1})
    assert ModelPT.restore_from(path).decoder.decoder_layers[0].out_channels == 11


def test_a_rebuilt_model_is_saved_and_restored_as_any(tmp_path):
    model = golden.restored(tmp_path, "ctc-conformer")
    again = ModelPT.restore_from(model.save_to(tmp_path / "again.nemo")).eval()
    call = next(calls("ctc-conformer"))
    assert torch.equal(answer(again, call)["logprobs"], answer(model, call)["logprobs"])


def test_the_command_line_needs_no_nemo(tmp_path, capsys, monkeypatch):
    import sys

    from torchport.cli import app

    monkeypatch.setitem(sys.modules, "nemo", None)
    path = golden.archive(tmp_path, "ctc-quartznet")
    assert app(["export", str(path), "-o", str(tmp_path / "m.onnx")], standalone_mode=False) == 0
    assert (tmp_path / "m.onnx").exists()
    capsys.readouterr()


@pytest.mark.parametrize("installed", [False, True])
def test_what_is_not_rebuilt_is_left_to_nemo_where_it_is_installed(tmp_path, capsys, monkeypatch, installed):
    from torchport.cli import app
    from torchport.integrations.nemo import archive as nemo_archive

    monkeypatch.setattr(nemo_archive, "has_nemo", lambda: installed)
    monkeypatch.setattr(nemo_archive, "restore_nemo_archive", lambda path, config: golden.restored(tmp_path, "ctc-quartznet"))
    path = golden.archive(tmp_path, "ctc-conformer", encoder={"reduction": "skipping", "reduction_factor": 2})
    code = app(["export", str(path), "-o", str(tmp_path / "m.onnx")], standalone_mode=False)
    error = capsys.readouterr().err
    assert "encoder.reduction" in error
    assert (tmp_path / "m.onnx").exists() is installed
    assert code == (0 if installed else 2)
    assert ("NeMo is installed and builds the model" in error) is installed


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_computed_with_in_single_precision_as_nemo_does(tmp_path, dtype):
    weights = {key: value.to(dtype) if value.is_floating_point() else value for key, value in golden.weights("ctc-conformer").items()}
    path = write_archive(tmp_path / "m.nemo", golden.config("ctc-conformer"), weights, {})
    model = ModelPT.restore_from(path).eval()
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}
    call = next(calls("ctc-conformer"))
    got, expected = answer(model, call), golden.answers("ctc-conformer", call.part, call.seed)
    assert got["logprobs"].dtype == torch.float32
    rounding = 0.1 if dtype == torch.bfloat16 else 0.02 if dtype == torch.float16 else 1e-5
    np.testing.assert_allclose(got["logprobs"].numpy(), expected["logprobs"], atol=rounding * np.abs(expected["logprobs"]).max())


def test_an_option_that_is_null_asks_for_nothing(tmp_path):
    model = ModelPT.restore_from(golden.archive(tmp_path, "ctc-conformer", encoder={"an_option_of_tomorrow": None})).eval()
    call = next(calls("ctc-conformer"))
    assert_close(golden.answers("ctc-conformer", call.part, call.seed), answer(model, call))


@pytest.mark.parametrize("name", ["ctc-conformer", "hybrid-fastconformer", "rnnt-stateless", "tts-fastpitch-speakers", "speaker-titanet"])
def test_restoring_loads_no_compiler(tmp_path, name):
    path = golden.archive(tmp_path, name)
    code = "import sys; from torchport.models import ModelPT; ModelPT.restore_from(sys.argv[1]); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
