"""FastPitch: the network, what training calls, what a deployment calls."""

from __future__ import annotations

import inspect

import pytest
import torch
from plain_exporters import assert_same, eager, scripted, traced_onnx, traced_script

from torchport.errors import OptionError, UnknownModelError
from torchport.models._fastpitch_ports import PaceType
from torchport.models.fastpitch import FastPitch, FastPitchSettings
from torchport.models.model_pt import ModelPT
from torchport.models.pretrained import PretrainedModelInfo
from torchport.ports import Signature, make_inputs

TINY = {"tokens": 20, "mels": 8, "channels": 16, "heads": 2, "head_channels": 8, "hidden": 32, "encoder_layers": 2, "decoder_layers": 2}
TINY |= {"predictor_channels": 16}
SIZES = ((1, 1), (1, 2), (1, 37), (2, 1), (2, 13), (3, 40), (5, 1), (5, 7), (5, 33), (1, 150))
OUTPUTS = ["spect", "num_frames", "durs_predicted", "log_durs_predicted", "pitch_predicted"]
TOKENS = {0: "batch", 1: "tokens"}
AXES = {
    **dict.fromkeys(("text", "pitch", "pace", "durs_predicted", "log_durs_predicted", "pitch_predicted"), TOKENS),
    **{name: {0: "batch"} for name in ("input_lens", "speaker", "num_frames")},
    "spect": {0: "batch", 2: "frames"},
}


@pytest.fixture(scope="module")
def tiny() -> FastPitch:
    return FastPitch(TINY).eval()


@pytest.fixture(scope="module")
def voices() -> FastPitch:
    return FastPitch({**TINY, "speakers": 3, "energy": True}).eval()


@pytest.fixture(params=["tiny", "voices"])
def model(request) -> FastPitch:
    return request.getfixturevalue(request.param)


def inputs_of(model: FastPitch, batch: int, tokens: int, seed: int = 0) -> dict[str, torch.Tensor]:
    signature = Signature.of(inputs=model.input_types, outputs=model.output_types)
    signature = signature.without(model.disabled_deployment_input_names | model.disabled_deployment_output_names)
    example = model.input_example()[0]
    return make_inputs(signature.resolved(inputs=example), {"batch": batch, "tokens": tokens, "frames": 1}, seed=seed, example=example)


# --- what it says -------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_each_token_gets_its_rounded_duration_divided_by_its_pace(model):
    inputs = inputs_of(model, 3, 21)
    spoken = model.forward_for_export(**inputs)
    valid = torch.arange(21) < inputs["input_lens"].unsqueeze(1)
    counts = (spoken.durs_predicted / inputs["pace"]).round().clamp(max=75).long() * valid
    assert spoken.num_frames.tolist() == counts.sum(dim=1).tolist()
    assert spoken.spect.shape == (3, 8, int(spoken.num_frames.max()))
    torch.testing.assert_close(spoken.durs_predicted, spoken.log_durs_predicted.exp() - 1)


@torch.no_grad()
def test_an_untrained_voice_speaks_about_five_frames_a_token(tiny):
    spoken = tiny.forward_for_export(torch.randint(0, 20, (1, 200), generator=torch.Generator().manual_seed(1)))
    assert 4.0 < spoken.durs_predicted.mean().item() < 6.5
    assert spoken.durs_predicted.std().item() > 0.3
    assert spoken.durs_predicted.min().item() >= 1.0


@torch.no_grad()
def test_a_row_of_a_ragged_batch_sounds_as_it_does_alone(model):
    inputs = inputs_of(model, 4, 30)
    inputs["input_lens"] = torch.tensor([30, 17, 1, 29])
    together = model.forward_for_export(**inputs)
    for row, length in enumerate(inputs["input_lens"].tolist()):
        one = {name: (tensor[row : row + 1, :length] if tensor.dim() == 2 else tensor[row : row + 1]) for name, tensor in inputs.items()}
        alone = model.forward_for_export(**one)
        frames = int(alone.num_frames)
        assert int(together.num_frames[row]) == frames
        torch.testing.assert_close(together.spect[row, :, :frames], alone.spect[0], rtol=0, atol=1e-5)
        assert not together.spect[row, :, frames:].any()
        for name in ("durs_predicted", "log_durs_predicted", "pitch_predicted"):
            torch.testing.assert_close(getattr(together, name)[row, :length], getattr(alone, name)[0], rtol=0, atol=1e-5)
            assert not getattr(together, name)[row, length:].any()


@torch.no_grad()
def test_what_stands_in_the_padding_has_no_effect(model):
    inputs = inputs_of(model, 2, 12)
    inputs["input_lens"] = torch.tensor([12, 5])
    changed = {name: tensor.clone() for name, tensor in inputs.items()}
    changed["text"][1, 5:] = (changed["text"][1, 5:] + 7) % 20
    changed["pitch"][1, 5:] = 100.0
    changed["pace"][1, 5:] = 0.0
    for before, after in zip(model.forward_for_export(**inputs), model.forward_for_export(**changed), strict=True):
        assert torch.equal(before, after)


@torch.no_grad()
def test_what_is_left_out_means_full_rows_the_predicted_pitch_and_pace_one(tiny):
    text = torch.randint(0, 20, (2, 9))
    short = tiny.forward_for_export(text)
    full = tiny.forward_for_export(text, torch.tensor([9, 9]), torch.zeros(2, 9), torch.ones(2, 9))
    assert all(torch.equal(a, b) for a, b in zip(short, full, strict=True))


@torch.no_grad()
def test_twice_the_pace_is_half_the_frames(tiny):
    text = torch.randint(0, 20, (1, 100))
    usual, fast = (tiny.forward_for_export(text, pace=torch.full((1, 100), pace)).num_frames.item() for pace in (1.0, 2.0))
    assert fast == pytest.approx(usual / 2, rel=0.1)


@torch.no_grad()
def test_no_pace_asks_for_endless_speech(tiny):
    text = torch.randint(0, 20, (1, 10))
    slowest = tiny.forward_for_export(text, pace=torch.full((1, 10), 0.25)).num_frames
    for pace in (0.0, -3.0, 1e-30):
        assert tiny.forward_for_export(text, pace=torch.full((1, 10), pace)).num_frames == slowest


@torch.no_grad()
def test_the_callers_pitch_is_added_to_the_predicted_one(tiny):
    text = torch.randint(0, 20, (1, 6))
    usual = tiny.forward_for_export(text)
    higher = tiny.forward_for_export(text, pitch=torch.full((1, 6), 1.5))
    torch.testing.assert_close(higher.pitch_predicted, usual.pitch_predicted + 1.5)
    assert torch.equal(higher.durs_predicted, usual.durs_predicted)
    assert not torch.allclose(higher.spect, usual.spect)


@torch.no_grad()
def test_every_speaker_sounds_different(voices):
    text = torch.randint(0, 20, (1, 6)).repeat(3, 1)
    spoken = voices.forward_for_export(text, speaker=torch.arange(3))
    assert not torch.allclose(spoken.log_durs_predicted[0], spoken.log_durs_predicted[1])
    assert not torch.allclose(spoken.log_durs_predicted[1], spoken.log_durs_predicted[2])


def test_several_voices_without_a_speaker_are_refused(voices):
    with pytest.raises(ValueError, match="give `speaker`"):
        voices.forward_for_export(torch.zeros(1, 3, dtype=torch.int64))


@torch.no_grad()
def test_a_text_that_is_all_silence_gives_one_frame_of_padding():
    model = FastPitch(TINY).eval()
    torch.nn.init.constant_(model.network.duration_predictor.out.bias, -10.0)
    spoken = model.forward_for_export(torch.zeros(2, 4, dtype=torch.int64))
    assert spoken.num_frames.tolist() == [0, 0]
    assert spoken.spect.shape == (2, 8, 1)
    assert not spoken.spect.any()


@torch.no_grad()
def test_no_position_table_runs_out(tiny):
    spoken = tiny.forward_for_export(torch.randint(0, 20, (1, 1500)), pace=torch.full((1, 1500), 4.0))
    assert spoken.spect.isfinite().all()
    assert spoken.spect.shape[2] > 1000


@torch.no_grad()
def test_it_runs_in_float64():
    single, double = FastPitch(TINY).eval(), FastPitch(TINY).eval().double()
    inputs = inputs_of(single, 2, 11)
    wide = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}
    for narrow, exact in zip(single.forward_for_export(**inputs), double.forward_for_export(**wide), strict=True):
        assert exact.dtype == (torch.float64 if narrow.is_floating_point() else torch.int64)
        torch.testing.assert_close(narrow.double(), exact.double(), rtol=1e-4, atol=1e-5)


# --- training -----------------------------------------------------------------------------------------------------------------------


def test_forward_takes_keywords_only(tiny):
    kinds = {parameter.kind for parameter in inspect.signature(tiny.forward).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    with pytest.raises(TypeError, match="positional"):
        tiny(torch.zeros(1, 3, dtype=torch.int64))


def test_forward_takes_every_declared_input_and_gives_declared_outputs_only(voices):
    assert set(inspect.signature(voices.forward).parameters) == set(voices.input_types)
    assert set(voices(text=torch.zeros(1, 3, dtype=torch.int64), speaker=torch.tensor([0]))) <= set(voices.output_types)


@torch.no_grad()
def test_forward_without_targets_says_what_a_deployment_says(tiny):
    inputs = inputs_of(tiny, 2, 9)
    spoken = tiny.forward_for_export(text=inputs["text"], input_lens=inputs["input_lens"])
    trained = tiny(text=inputs["text"], input_lens=inputs["input_lens"])
    assert list(trained) == OUTPUTS
    for name in OUTPUTS:
        assert torch.equal(trained[name], getattr(spoken, name))


def test_true_durations_take_the_place_of_predicted_ones(tiny):
    durs = torch.tensor([[2, 3, 1], [4, 0, 0]])
    outputs = tiny(text=torch.tensor([[1, 2, 3], [4, 0, 0]]), input_lens=torch.tensor([3, 1]), durs=durs)
    assert outputs["num_frames"].tolist() == [6, 4]
    assert tiny(text=torch.tensor([[1, 2, 3]]), durs=durs[:1] * 2, pace=2.0)["num_frames"].tolist() == [6]


@torch.no_grad()
def test_a_pitch_a_frame_is_averaged_over_each_token(voices):
    common = {"text": torch.tensor([[1, 2, 3]]), "speaker": torch.tensor([1]), "durs": torch.tensor([[2, 3, 1]])}
    frames = torch.tensor([[1.0, 3.0, 0.0, 0.0, 6.0, 0.5]])
    tokens = torch.tensor([[2.0, 6.0, 0.5]])
    a_frame, a_token = (voices(**common, pitch=values, energy=values) for values in (frames, tokens))
    assert torch.equal(a_frame["spect"], a_token["spect"])


def test_the_aligner_takes_the_durations_from_the_recording():
    model = FastPitch({**TINY, "learn_alignment": True})
    spec = torch.randn(2, 8, 15)
    outputs = model(
        text=torch.randint(0, 20, (2, 6)),
        input_lens=torch.tensor([6, 4]),
        spec=spec,
        mel_lens=torch.tensor([15, 9]),
        attn_prior=torch.rand(2, 15, 6),
        pitch=torch.randn(2, 15),
    )
    assert outputs["num_frames"].tolist() == [15, 9]
    assert outputs["attn_hard_dur"].sum(dim=1).tolist() == [15, 9]
    assert (outputs["attn_hard_dur"][0] > 0).all()
    assert outputs["attn_hard_dur"][1, 4:].tolist() == [0, 0]
    torch.testing.assert_close(outputs["attn_soft"].sum(dim=2), torch.ones(2, 15))
    whole = model(text=torch.randint(0, 20, (2, 6)), spec=spec)
    assert whole["num_frames"].tolist() == [15, 15]


def test_every_weight_of_it_trains():
    torch.manual_seed(0)
    model = FastPitch({**TINY, "learn_alignment": True, "energy": True, "speakers": 2, "dropout": 0.0})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    batch = {"text": torch.randint(0, 20, (2, 6)), "speaker": torch.tensor([0, 1]), "spec": torch.randn(2, 8, 15)}
    batch |= {"pitch": torch.randn(2, 15), "energy": torch.randn(2, 15)}
    losses = []
    for _ in range(5):
        outputs = model(**batch)
        loss = (outputs["spect"] - batch["spec"]).square().mean() - outputs["attn_logprob"].log_softmax(dim=2).diagonal(0, 1, 2).mean()
        loss = loss + (outputs["log_durs_predicted"] - outputs["attn_hard_dur"].add(1).log()).square().mean()
        loss = loss + outputs["pitch_predicted"].square().mean() + outputs["energy_predicted"].square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


# --- settings and pretrained --------------------------------------------------------------------------------------------------------


def test_the_classic_settings_are_the_published_size():
    with torch.device("meta"):
        assert FastPitch(FastPitchSettings.classic()).num_weights == 44_753_874


def test_one_seed_gives_the_same_voice_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    first, second = FastPitch(TINY), FastPitch(TINY)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_every_listed_voice_is_described_as_random_and_comes_back_from_its_archive(tmp_path):
    listed = FastPitch.list_available_models()
    assert [info.pretrained_model_name for info in listed] == ["fastpitch-random", "fastpitch-multispeaker-random"]
    for info in listed:
        assert "random" in info.description
        model = FastPitch.from_pretrained(info.pretrained_model_name)
        assert not model.training
        restored = ModelPT.restore_from(model.save_to(tmp_path / "voice.nemo")).eval()
        assert isinstance(restored, FastPitch)
        inputs = model.input_example(2, 5)[0]
        for one, other in zip(model.forward_for_export(**inputs), restored.forward_for_export(**inputs), strict=True):
            assert torch.equal(one, other)


def test_a_voice_that_is_not_listed_is_refused():
    with pytest.raises(UnknownModelError, match="fastpitch-random"):
        FastPitch.build_pretrained(PretrainedModelInfo("fastpitch-xx"))


# --- export -------------------------------------------------------------------------------------------------------------------------


def test_a_deployment_has_its_own_inputs_and_outputs(tiny, voices):
    for model, speaker in ((tiny, []), (voices, ["speaker"])):
        names = [name for name in model.input_types if name not in model.disabled_deployment_input_names]
        assert names == ["text", "input_lens", "pitch", "pace", *speaker]
        assert names == list(model.input_example()[0])
        assert [name for name in model.output_types if name not in model.disabled_deployment_output_names] == OUTPUTS


def test_the_ports_share_their_axes(voices):
    signature = Signature.of(inputs=voices.input_types, outputs=voices.output_types)
    signature = signature.without(voices.disabled_deployment_input_names | voices.disabled_deployment_output_names)
    assert signature.dynamic_axes() == AXES
    assert signature.length_of("input_lens") == ("text", 1)


def test_paces_made_from_their_type_can_be_spoken():
    made = PaceType().sample((4, 50), torch.float32, torch.Generator().manual_seed(0))
    assert made.shape == (4, 50)
    assert 0.75 <= made.min() < 0.9
    assert 1.35 < made.max() <= 1.5


def test_an_example_is_ragged_and_always_the_same(tiny):
    first, second = tiny.input_example(4, 9)[0], tiny.input_example(4, 9)[0]
    assert first["input_lens"][0] == 9
    assert first["input_lens"].min() < 9
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(OptionError, match="max_dim=0"):
        tiny.input_example(1, 0)


@pytest.mark.parametrize("opset", [13, 17])
def test_onnx_equals_the_model_at_every_size(model, opset):
    example = model.input_example()[0]
    axes = {name: AXES[name] for name in (*example, *OUTPUTS)}
    run = traced_onnx(model, "forward_for_export", example, axes, OUTPUTS, opset)
    for size in SIZES:
        inputs = inputs_of(model, *size)
        assert_same(eager(model, "forward_for_export", inputs), run(inputs), size)


@pytest.mark.parametrize("capture", ["trace", "script"])
def test_torchscript_equals_the_model_at_every_size(model, capture):
    method = "forward_for_export"
    run = traced_script(model, method, model.input_example()[0]) if capture == "trace" else scripted(model, method)
    for size in SIZES:
        inputs = inputs_of(model, *size)
        assert_same(eager(model, method, inputs), run(inputs), size)
