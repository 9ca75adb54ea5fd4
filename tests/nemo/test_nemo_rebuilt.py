"""Archives that NeMo wrote, rebuilt without it, answer what NeMo's eager models answer."""

import nemo_goldens
import nemo_models as zoo
import numpy as np
import pytest
import torch
from nemo_rebuilt import calls
from nemo_seeded import seeded_features
from nemo_variants import BANDS, LETTERS, VARIANTS, conformer, ctc, ctc_decoder
from test_nemo_recognition import eager_tokens, features, lively

import torchport
from torchport.integrations.nemo._metadata import metadata_of
from torchport.models import ModelPT
from torchport.runtime import open_recognizer

pytestmark = pytest.mark.filterwarnings("ignore")


def rebuilt_from(model, folder):
    model.save_to(str(folder / "m.nemo"))
    return ModelPT.restore_from(folder / "m.nemo").eval()


def choose(model, part, inputs=()):
    """A hybrid model answers by itself where its CTC decoder is chosen; a voice takes the volume where that is."""
    if hasattr(model, "ctc_decoder"):
        model.set_export_config({"decoder_type": "ctc" if part == "self" else "rnnt"})
    if "cache_last_channel" in inputs:
        model.set_export_config({"cache_support": True})
    if "volume" in inputs:
        model.set_export_config({"enable_volume": True})


def difference(model, rebuilt, part, inputs):
    choose(rebuilt, part, inputs)
    module = rebuilt if part == "self" else rebuilt.get_export_subnet(part)
    expected = zoo.eager(model, part, inputs)
    with torch.no_grad():
        given = module(**inputs)
    given = (given,) if isinstance(given, torch.Tensor) else given
    assert list(module.output_types) == list(expected)
    return zoo.worst_error(expected, {name: value.numpy() for name, value in zip(expected, given, strict=True)})


@pytest.mark.parametrize("name", VARIANTS)
def test_a_rebuilt_model_equals_nemos(tmp_path, name):
    model = nemo_goldens.build(name)
    rebuilt = rebuilt_from(model, tmp_path)
    assert not type(rebuilt).__module__.startswith("nemo")
    for call in calls(name):
        assert difference(model, rebuilt, call.part, call.inputs) < 1e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_a_rebuilt_model_states_what_nemos_does(tmp_path, name):
    model = nemo_goldens.build(name)
    rebuilt = rebuilt_from(model, tmp_path)
    for part, inputs in sorted({call.part: call.inputs for call in calls(name)}.items()):  # the model itself is the last
        choose(rebuilt, part, inputs)
        if part == "self" and hasattr(model, "ctc_decoder"):
            model.change_decoding_strategy(decoder_type="ctc")
        theirs = metadata_of(model, model if part == "self" else model.get_export_subnet(part))
        ours = rebuilt.export_metadata(part)
        assert ours.pop("model_class") != theirs.pop("model_class")
        if name.startswith("tts-fastpitch"):
            theirs.pop("vocabulary", None)  # it is with the tokenizer, which is not rebuilt
        assert ours == theirs


@pytest.mark.parametrize("name", VARIANTS)
def test_what_was_recorded_is_what_nemo_answers(name):
    model = nemo_goldens.build(name)
    with np.load(nemo_goldens.FOLDER / f"{name}.npz") as recorded:
        for call in calls(name):
            for output, value in zoo.eager(model, call.part, call.inputs).items():
                np.testing.assert_allclose(value.numpy(), recorded[f"{call.part}.{call.seed}.{output}"], atol=1e-5, rtol=1e-5)


def test_longer_inputs_than_the_first_table_of_positions(tmp_path):
    from nemo.core import ModelPT as NemoModel
    from omegaconf import OmegaConf

    model = NemoModel.from_config_dict(OmegaConf.create(ctc(conformer(pos_emb_max_len=8)))).eval()
    rebuilt = rebuilt_from(model, tmp_path)
    assert difference(model, rebuilt, "self", seeded_features(BANDS, 2, 200, 0)) < 1e-5


def test_a_model_with_a_tokenizer_is_rebuilt_without_it(tmp_path):
    import sentencepiece
    from nemo.core import ModelPT as NemoModel
    from omegaconf import OmegaConf

    (tmp_path / "text.txt").write_text("\n".join(f"{one} {other} abc" for one in LETTERS for other in LETTERS))
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tokens / "tokenizer"), vocab_size=15, minloglevel=2
    )
    (tokens / "vocab.txt").write_text("\n".join(LETTERS))
    config = ctc(conformer())
    config |= {"target": "nemo.collections.asr.models.ctc_bpe_models.EncDecCTCModelBPE", "tokenizer": {"dir": str(tokens), "type": "bpe"}}
    config["decoder"] = {**ctc_decoder(), "num_classes": -1, "vocabulary": []}
    model = NemoModel.from_config_dict(OmegaConf.create(config)).eval()
    rebuilt = rebuilt_from(model, tmp_path)
    assert rebuilt.decoder.decoder_layers[0].out_channels == 16
    assert difference(model, rebuilt, "self", seeded_features(BANDS, 2, 50, 0)) < 1e-5


def test_the_padding_of_a_voice_is_the_tokenizers(tmp_path):
    model = nemo_goldens.build("tts-fastpitch-aligned")
    rebuilt = rebuilt_from(model, tmp_path)
    theirs = model.fastpitch.encoder
    assert (rebuilt.fastpitch.encoder.tokens, rebuilt.fastpitch.encoder.padding) == (theirs.word_emb.num_embeddings, theirs.padding_idx)
    inputs = {"text": torch.randint(0, theirs.padding_idx, (2, 9)), "pitch": torch.zeros(2, 9), "pace": torch.ones(2, 9)}
    inputs["text"][1, 6:] = theirs.padding_idx
    assert difference(model, rebuilt, "self", inputs) < 1e-5


@pytest.mark.parametrize("name", ["tdt-fastconformer", "rnnt-stateless"])
def test_transcripts_of_rebuilt_files_are_those_of_nemos_eager_model(tmp_path, name):
    model = lively(zoo.build(name))
    rebuilt = rebuilt_from(model, tmp_path)
    recognizer = open_recognizer(*torchport.export(rebuilt, tmp_path / "m.onnx").paths)
    spoken = 0
    for signal, lengths in features():
        for want, have in zip(eager_tokens(model, signal, lengths), recognizer(signal.numpy(), lengths.numpy()), strict=True):
            assert list(have.tokens) == [int(one) for one in want.y_sequence]
            spoken += len(have.tokens)
    assert spoken > 500


@pytest.mark.parametrize("window", [[3, 5], [0, 4]])
def test_the_places_of_an_uneven_window_are_counted_as_nemo_does(tmp_path, window):
    from nemo.core import ModelPT as NemoModel
    from omegaconf import OmegaConf

    config = ctc(conformer(self_attention_model="rel_pos_local_attn", att_context_size=window))
    model = NemoModel.from_config_dict(OmegaConf.create(config)).eval()
    inputs = seeded_features(BANDS, 2, 90, 0)
    assert difference(model, rebuilt_from(model, tmp_path), "self", inputs) < 1e-5
    assert torchport.export(model, tmp_path / "m.onnx").proof.ok
