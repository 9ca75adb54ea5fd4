"""Transcripts come from the files alone, and are those of the eager model, token by token."""

import itertools
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from tiny_speech import Ctc, Streaming, Transducer

import torchport
from torchport.errors import MetadataError, PortValueError, RuntimeFailure, UnusablePathError
from torchport.metadata import KEY, format_metadata, parse_metadata
from torchport.runtime import Hypothesis, OnnxGraph, greedy_ctc, open_recognizer, text_of


def exported(model, folder, name="m.onnx"):
    torch.manual_seed(0)
    return [part.artifact.path for part in model.eval().export(folder / name).parts]


@pytest.fixture(scope="module")
def ctc(tmp_path_factory):
    torch.manual_seed(3)
    model = Ctc()
    return model, exported(model, tmp_path_factory.mktemp("ctc"))


KINDS = {"rnnt": (), "tdt": (0, 1, 2, 5)}


@pytest.fixture(scope="module", params=KINDS)
def transducer(request, tmp_path_factory):
    torch.manual_seed(5)
    model = Transducer(KINDS[request.param])
    return model, exported(model, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    torch.manual_seed(1)
    model, first = Streaming(), Streaming(first=True)
    first.load_state_dict(model.state_dict())
    folder = tmp_path_factory.mktemp("stream")
    return model, exported(model, folder) + exported(first, folder, "first.onnx")


def utterances(count=50, batch=10, most=31):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count // batch):
        lengths = torch.randint(1, most, (batch,), generator=generator)
        yield torch.randn(batch, 6, most, generator=generator) * 2, lengths


def test_ctc_transcripts_equal_the_models_own(ctc):
    model, paths = ctc
    recognizer = open_recognizer(*paths)
    spoken = 0
    for mel, lengths in utterances():
        with torch.no_grad():
            scores, counts = model(mel, lengths)
        for row, have in enumerate(recognizer(mel.numpy(), lengths.numpy())):
            best = scores[row, : counts[row]].argmax(-1).tolist()
            assert list(have.tokens) == [token for token, _ in itertools.groupby(best) if token != 4]
            assert [best[frame] for frame in have.frames] == list(have.tokens)
            spoken += len(have.tokens)
    assert spoken > 200


def test_transducer_transcripts_equal_a_plain_search(transducer):
    model, paths = transducer
    recognizer = open_recognizer(*reversed(paths))
    spoken, crowded = 0, 0
    for mel, lengths in utterances():
        for row, have in enumerate(recognizer(mel.numpy(), lengths.numpy())):
            with torch.no_grad():
                assert list(zip(have.tokens, have.frames, strict=True)) == model.tokens_of(mel[row, :, : lengths[row]])
            spoken += len(have.tokens)
            crowded += len(have.frames) - len(set(have.frames))
    assert spoken > 200
    assert crowded > 20


def test_all_of_the_features_count_where_no_lengths_are_given(ctc):
    _, paths = ctc
    recognizer = open_recognizer(paths[0], threads=1)
    mel, _ = next(utterances())
    assert recognizer(mel.numpy()) == recognizer(mel.numpy(), np.full(10, 31))


def test_text_is_in_the_hypothesis(ctc):
    mel, _ = next(utterances())
    for have in open_recognizer(*ctc[1])(mel.numpy()):
        assert have.text == "".join([" a", "b", " c", "d"][token] for token in have.tokens).strip()


def test_a_stream_with_a_first_graph_equals_the_whole(streaming):
    model, paths = streaming
    recognizer = open_recognizer(*paths)
    mel = torch.randn(2, 6, 83, generator=torch.Generator().manual_seed(7)) * 2
    with torch.no_grad():
        model.first = True
        whole, _ = model(mel, torch.zeros(2, 8))
        model.first = False
    expected = [greedy_ctc(scores, 83, 4) for scores in whole.numpy()]
    stream, got = recognizer.stream(2), None
    for start in range(0, 83, 7):
        got = stream.feed(mel[:, :, start : start + 7].numpy())
    assert len(got[0].tokens) > 10
    assert [(list(one.tokens), list(one.frames)) for one in stream.finish()] == expected
    assert stream.finish() == stream.finish()


def test_a_stream_without_one_begins_after_silence(streaming):
    model, paths = streaming
    mel = torch.randn(1, 6, 80, generator=torch.Generator().manual_seed(7)) * 2
    with torch.no_grad():
        scores, _ = model(torch.nn.functional.pad(mel, (2, 0)), torch.zeros(1, 8))
    stream = open_recognizer(paths[0]).stream()
    stream.feed(mel.numpy())
    (got,) = stream.finish()
    assert (list(got.tokens), list(got.frames)) == greedy_ctc(scores[0].numpy(), 80, 4)


def test_transducers_go_on_over_the_border_of_two_calls(transducer):
    _, paths = transducer
    recognizer = open_recognizer(*paths)
    mel, _ = next(utterances(batch=10))
    decoder = recognizer.decoder(10)
    for start in range(0, 31, 3):
        frames, counts, _ = recognizer.run(recognizer.graph, mel[:, :, start : start + 3].numpy(), np.full(10, min(3, 31 - start)), {})
        decoder.advance(frames, counts)
    assert recognizer.hypotheses(decoder) == recognizer(mel.numpy())


def test_a_bundle_is_opened_as_a_whole(transducer, tmp_path):
    model, paths = transducer
    model.export(tmp_path / "again.onnx").package(tmp_path / "bundle")
    mel, lengths = next(utterances())
    assert open_recognizer(tmp_path / "bundle")(mel.numpy(), lengths.numpy()) == open_recognizer(*paths)(mel.numpy(), lengths.numpy())


def test_neither_torch_nor_onnx_is_needed(ctc):
    code = (
        "import sys, numpy; from torchport.runtime import open_recognizer;"
        f"open_recognizer({str(ctc[1][0])!r})(numpy.zeros((1, 6, 9), 'float32'));"
        "sys.exit(bool({'torch', 'onnx', 'onnx_ir'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("tokens", "kind", "text"),
    [
        (["a", " ", "b"], "characters", "a b"),
        (["\N{LOWER ONE EIGHTH BLOCK}go", "ing", "\N{LOWER ONE EIGHTH BLOCK}on"], "sentencepiece", "going on"),
        (["go", "##ing", "on"], "wordpiece", "going on"),
    ],
)
def test_tokens_become_text_by_their_kind(tokens, kind, text):
    assert text_of([0, 1, 2, 9], {"kind": kind, "tokens": tokens}) == text
    assert text_of([0], {}) == ""


def test_no_frames_give_no_tokens():
    assert greedy_ctc(np.zeros((0, 3)), 0, 2) == ([], [])
    assert Hypothesis((), ()).text == ""


def changed(path, folder, change):
    """The file with other metadata; ``None`` takes them out."""
    model = onnx.load(path)
    entries = {one.key: one.value for one in model.metadata_props}
    document = change(parse_metadata(entries.pop(KEY), where="m"))
    del model.metadata_props[:]
    if document is not None:
        entries[KEY] = format_metadata(document)
    onnx.helper.set_model_props(model, entries)
    onnx.save(model, folder / "changed.onnx")
    return folder / "changed.onnx"


def without(*names):
    def change(document):
        inner = document
        for name in names[:-1]:
            inner = inner[name]
        del inner[names[-1]]
        return document

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: None, "does not say what its numbers mean"),
        (without("vocabulary"), "vocabulary.blank"),
        (without("ports", "scores"), "ports.scores"),
        (lambda document: {**document, "ports": {**document["ports"], "scores": "logits"}}, "a port that it does not have"),
        (lambda document: {**document, "task": "speaker"}, "do not make up a recognizer"),
    ],
)
def test_what_a_file_does_not_say_is_named(ctc, tmp_path, change, message):
    with pytest.raises(MetadataError, match=message):
        open_recognizer(changed(ctc[1][0], tmp_path, change))


def test_files_of_different_models_are_told_apart(transducer, tmp_path):
    encoder, step = transducer[1]
    other = changed(step, tmp_path, lambda document: {**document, "vocabulary": {"blank": 3}})
    with pytest.raises(MetadataError, match="different models"):
        open_recognizer(encoder, other)


@pytest.mark.parametrize("shape", [[8, 8], ["batch", "batch"]])
def test_a_state_without_an_axis_of_utterances_is_refused(transducer, tmp_path, shape):
    encoder, step = transducer[1]
    other = changed(step, tmp_path, lambda document: {**document, "states": [{**document["states"][0], "shape": shape}]})
    with pytest.raises(MetadataError, match="one axis of utterances"):
        open_recognizer(encoder, other)


def test_files_that_do_not_belong_together_are_refused(ctc, transducer, streaming):
    for paths in ([ctc[1][0], transducer[1][0]], [ctc[1][0], ctc[1][0]], [transducer[1][0]], [*transducer[1], transducer[1][1]], []):
        with pytest.raises(MetadataError, match="make up a recognizer"):
            open_recognizer(*paths)


def test_a_file_is_used_as_it_says(ctc, streaming):
    with pytest.raises(MetadataError, match="whole utterances only"):
        open_recognizer(*ctc[1]).stream()
    with pytest.raises(MetadataError, match="bit by bit"):
        open_recognizer(*streaming[1])(np.zeros((1, 6, 9), np.float32))
    with pytest.raises(PortValueError, match="another number of utterances"):
        open_recognizer(*streaming[1]).stream(2).feed(np.zeros((1, 6, 9), np.float32))


@pytest.mark.parametrize("lengths", [[9], [3, 32], [-1, 3], [1.0, 2.0]])
def test_lengths_that_are_none_are_refused(ctc, lengths):
    with pytest.raises(PortValueError, match="one number for each utterance"):
        open_recognizer(*ctc[1])(np.zeros((2, 6, 31), np.float32), lengths)


def test_features_of_another_rank_are_refused(ctc):
    with pytest.raises(PortValueError, match="3 axes"):
        open_recognizer(*ctc[1])(np.zeros((6, 31), np.float32))
    with pytest.raises(RuntimeFailure, match="failed while running"):
        open_recognizer(*ctc[1])(np.zeros((1, 7, 31), np.float32))


def test_audio_that_the_model_was_found_to_refuse_is_refused_with_the_limit(tmp_path):
    class Short(Ctc):
        def forward(self, mel, mel_lengths):
            if mel.shape[2] > 200:
                raise ValueError("too long")
            return super().forward(mel, mel_lengths)

    Short().export(tmp_path / "m.onnx")
    with pytest.raises(RuntimeFailure, match="the file refuses these sizes") as refused:
        open_recognizer(tmp_path / "m.onnx")(np.zeros((1, 6, 201), np.float32))
    assert refused.value.expected == "time must be 200 or less"


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(RuntimeFailure, match="refuses the file"):
        OnnxGraph(tmp_path / "m.onnx")
    with pytest.raises(UnusablePathError):
        OnnxGraph(tmp_path / "other.onnx")


def test_an_input_that_is_missing_is_named(ctc):
    with pytest.raises(PortValueError, match="mel_lengths"):
        OnnxGraph(ctc[1][0])({"mel": np.zeros((1, 6, 9), np.float32)})
    with pytest.raises(PortValueError, match="an input is missing"), torchport.load(ctc[1][0]) as artifact:
        artifact(mel=np.zeros((1, 6, 9), np.float32))
