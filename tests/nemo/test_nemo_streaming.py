"""Streams over the files alone equal NeMo's own stream of the eager model, chunk by chunk, and the model on the whole utterance."""

import nemo_models as zoo
import numpy as np
import pytest
import torch
from test_nemo_recognition import lively

import torchport
from torchport.runtime import greedy_ctc, open_recognizer

pytestmark = pytest.mark.filterwarnings("ignore")

CHUNKS = 20
BATCH = 2


def exported(model, folder):
    """Both graphs: that of all chunks, and that of the first one, which drops nothing."""
    paths = list(torchport.export(model, folder / "m.onnx").paths)
    settings = model.encoder.streaming_cfg
    dropped, settings.drop_extra_pre_encoded = settings.drop_extra_pre_encoded, 0
    paths.append(torchport.export(model, folder / "first.onnx").paths[0])
    settings.drop_extra_pre_encoded = dropped
    return paths


def streamed(model, signal, *, padded):
    """NeMo's own stream: its chunks, its caches, its steps."""
    from nemo.collections.asr.parts.utils.streaming_utils import CacheAwareStreamingAudioBuffer

    buffer = CacheAwareStreamingAudioBuffer(model=model, online_normalization=False, pad_and_drop_preencoded=padded)
    for row in signal:
        buffer.append_processed_signal(row[None], stream_id=-1)
    caches = model.encoder.get_initial_cache_state(batch_size=len(signal))
    frames = []
    for step, (chunk, lengths) in enumerate(buffer):
        drop = model.encoder.streaming_cfg.drop_extra_pre_encoded if step or padded else 0
        with torch.no_grad():
            encoded, counts, *caches = model.encoder.cache_aware_stream_step(
                processed_signal=chunk,
                processed_signal_length=lengths,
                cache_last_channel=caches[0],
                cache_last_time=caches[1],
                cache_last_channel_len=caches[2],
                keep_all_outputs=False,
                drop_extra_pre_encoded=drop,
            )
        frames.append(encoded[:, :, : int(counts[0])])
    return frames


def features(model):
    settings = model.encoder.streaming_cfg
    frames = settings.chunk_size[0] + (CHUNKS - 1) * settings.shift_size[1]
    return torch.randn(BATCH, 80, frames, generator=torch.Generator().manual_seed(4))


class Listening:
    """A decoder that keeps the frames it is given."""

    def __init__(self):
        self.frames = []

    def advance(self, frames, lengths):
        self.frames.append(frames[:, :, : int(lengths[0])])

    def found(self):
        return []


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", ["rnnt-conformer-streaming", "rnnt-fastconformer-streaming"])
def test_every_chunk_equals_nemos_own(tmp_path, name, padded):
    model = zoo.build(name)
    encoder, step, first = exported(model, tmp_path)
    recognizer = open_recognizer(encoder, step) if padded else open_recognizer(encoder, step, first)
    stream = recognizer.stream(BATCH)
    stream._decoder = heard = Listening()
    signal = features(model)
    for start in range(0, signal.shape[2], 11):
        stream.feed(signal[:, :, start : start + 11].numpy())
    stream.finish()
    expected = streamed(model, signal, padded=padded)
    assert len(expected) >= CHUNKS
    assert len(heard.frames) == len(expected)
    for want, have in zip(expected, heard.frames, strict=True):
        scale = float(want.abs().max())
        assert np.abs(want.numpy() - have).max() / scale < 2e-5
    if not padded:
        with torch.no_grad():
            whole, _ = model.encoder(audio_signal=signal, length=torch.full((BATCH,), signal.shape[2]))
        got = np.concatenate(heard.frames, 2)
        assert np.abs(whole[:, :, : got.shape[2]].numpy() - got).max() / float(whole.abs().max()) < 2e-5


def test_a_streams_transcript_is_that_of_the_whole_utterance(tmp_path):
    model = lively(zoo.build("ctc-conformer-streaming"))
    stream = open_recognizer(*exported(model, tmp_path)).stream(BATCH)
    signal = features(model)
    stream.feed(signal.numpy())
    got = stream.finish()
    with torch.no_grad():
        encoded, counts = model.encoder(audio_signal=signal, length=torch.full((BATCH,), signal.shape[2]))
        scores = model.decoder(encoder_output=encoded)
    for row, have in enumerate(got):
        assert (list(have.tokens), list(have.frames)) == greedy_ctc(scores[row].numpy(), int(counts[row]), 28)
        assert len(have.tokens) > 20
