"""Transcripts from the files alone equal NeMo's own greedy decoding of the eager model, token by token."""

import nemo_models as zoo
import pytest
import torch

import torchport
from torchport.integrations.nemo import from_waveform
from torchport.runtime import open_recognizer

pytestmark = pytest.mark.filterwarnings("ignore")

UTTERANCES = 50


def lively(model):
    """Random weights say one token only: the scores are made alike, so that each token has its turn, and the blank has more."""
    transducer = hasattr(model, "joint") and getattr(model, "cur_decoder", "rnnt") == "rnnt"
    ctc = getattr(model, "ctc_decoder", None) or model.decoder
    last = model.joint.joint_net[-1] if transducer else ctc.decoder_layers[-1]
    seen = []
    hook = last.register_forward_hook(lambda _, __, scores: seen.append(scores))
    with torch.no_grad():
        signal = zoo.features(None, 8, 400, 99)["audio_signal"]
        encoded, _ = model.encoder(audio_signal=signal, length=torch.full((8,), 400))
        if transducer:
            tokens = torch.randint(0, model.decoder.blank_idx, (8, 1))
            predicted, _ = model.decoder.predict(tokens, model.decoder.initialize_state(torch.zeros(8, 1)), add_sos=False)
            model.joint.joint(encoded.transpose(1, 2), predicted)
        else:
            ctc(encoder_output=encoded)
        hook.remove()
        scores = seen[0].movedim(-1 if transducer else 1, 0).flatten(1)
        last.bias.sub_(scores.mean(1)).div_(scores.std(1))
        last.weight.div_(scores.std(1).reshape(-1, *[1] * (last.weight.dim() - 1)))
        last.bias[model.joint.num_classes_with_blank - 1 - model.joint.num_extra_outputs if transducer else -1] += 1.0
    return model


def features(seed=0, batch=10):
    for start in range(0, UTTERANCES, batch):
        given = zoo.features(None, batch, 150 + 20 * start // batch, seed + start)
        yield given["audio_signal"], given["length"]


def eager_tokens(model, signal, lengths):
    with torch.no_grad():
        encoded, counts = model.encoder(audio_signal=signal, length=lengths)
        ctc = getattr(model, "ctc_decoder", None) or model.decoder
        if hasattr(model, "joint") and getattr(model, "cur_decoder", "rnnt") == "rnnt":
            found = model.decoding.rnnt_decoder_predictions_tensor(encoder_output=encoded, encoded_lengths=counts, return_hypotheses=True)
        else:
            decoding = getattr(model, "ctc_decoding", None) or model.decoding
            found = decoding.ctc_decoder_predictions_tensor(
                decoder_outputs=ctc(encoder_output=encoded), decoder_lengths=counts, return_hypotheses=True
            )
    return found


NAMES = [
    "ctc-conformer",
    "ctc-quartznet",
    "ctc-jasper",
    "hybrid-ctc",
    "rnnt-conformer",
    "rnnt-stateless",
    "hybrid-rnnt",
    "tdt-fastconformer",
]


@pytest.mark.parametrize("name", NAMES)
def test_transcripts_equal_eager_decoding_token_by_token(tmp_path, name):
    model = lively(zoo.build(name))
    recognizer = open_recognizer(*torchport.export(model, tmp_path / "m.onnx").paths)
    spoken = []
    for signal, lengths in features():
        expected, got = eager_tokens(model, signal, lengths), recognizer(signal.numpy(), lengths.numpy())
        for want, have in zip(expected, got, strict=True):
            assert have.text == "".join(zoo.VOCABULARY[token] for token in have.tokens)
            if recognizer.frames_role == "encoded":
                assert list(have.tokens) == [int(one) for one in want.y_sequence]
                assert list(have.frames) == [int(one) for one in want.timestamp]
            else:  # NeMo keeps the tokens of all frames, and takes the space before an apostrophe out of its text
                assert have.text.replace(" '", "'") == want.text
            spoken.append(have.tokens)
    assert len(spoken) == len(set(spoken)) == UTTERANCES
    assert sum(map(len, spoken)) > 10 * UTTERANCES


@pytest.mark.parametrize("name", ["ctc-conformer", "ctc-quartznet", "rnnt-conformer"])
def test_transcripts_come_from_the_waveform_too(tmp_path, name):
    model = lively(zoo.build(name))
    recognizer = open_recognizer(*torchport.export(from_waveform(model), tmp_path / "m.onnx").paths)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        samples = torch.randint(8000, 16000, (5,), generator=generator)
        wave = torch.randn(5, int(samples.max()), generator=generator)
        with torch.no_grad():
            signal, lengths = model.preprocessor(input_signal=wave, length=samples)
        for want, have in zip(eager_tokens(model, signal, lengths), recognizer(wave.numpy(), samples.numpy()), strict=True):
            if recognizer.frames_role == "encoded":
                assert list(have.tokens) == [int(one) for one in want.y_sequence]
            else:
                assert have.text.replace(" '", "'") == want.text
            assert len(have.tokens) > 3
