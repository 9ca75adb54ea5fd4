"""Classes under NeMo's qualified names, with its habits: checked methods that take keywords only, types, examples, parts, preparing."""

from __future__ import annotations

import enum

import torch
from torch import nn


class Kind(enum.Enum):
    Batch = 0
    Time = 1
    Dimension = 2


class AxisType:
    def __init__(self, kind):
        self.kind, self.size, self.is_list = kind, None, False


class Type:
    """A neural type as NeMo has them."""

    def __init__(self, axes, element, optional=False):
        letters = {"B": Kind.Batch, "T": Kind.Time, "D": Kind.Dimension}
        self.axes = tuple(AxisType(letters[one]) for one in axes)
        self.elements_type = type(element, (), {"type_parameters": {}})()
        self.optional = optional


class Exportable:
    __module__ = "nemo.core.classes.exportable"

    def _prepare_for_export(self, **kwargs):
        raise AssertionError("what NeMo changes for its own export is none of ours")


class NeuralModule(nn.Module):
    __module__ = "nemo.core.classes.module"


class Streaming:
    chunk_size, shift_size, pre_encode_cache_size = [6, 8], 8, [0, 3]
    drop_extra_pre_encoded, valid_out_len, last_channel_cache_size = 1, 4, 4


class Encoder(NeuralModule, Exportable):
    """Halves the frames and masks; `forward_for_export` is what streams."""

    _feat_in = 6
    export_cache_support = False

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 8)
        self.pos_enc = PositionalEncoding(40)
        self.streaming_cfg = Streaming()
        self.subsampling_factor = 2

    @property
    def input_types(self):
        return {"audio_signal": Type("BDT", "SpectrogramType"), "length": Type("B", "LengthsType"), **self._caches("")}

    @property
    def output_types(self):
        return {
            "outputs": Type("BDT", "AcousticEncodedRepresentation"),
            "encoded_lengths": Type("B", "LengthsType"),
            **self._caches("_next"),
        }

    @staticmethod
    def _caches(end):
        both = {f"cache_last_channel{end}": Type("BDTD", "ChannelType"), f"cache_last_time{end}": Type("BDDT", "ChannelType")}
        return {**both, f"cache_last_channel{end}_len": Type("B", "LengthsType", optional=True)}

    def get_initial_cache_state(self, batch_size):
        return torch.zeros(1, batch_size, 4, 8), torch.zeros(1, batch_size, 8, 2), torch.zeros(batch_size, dtype=torch.int64)

    def input_example(self, max_batch=1, max_dim=16):
        caches = torch.zeros(max_batch, 1, 4, 8), torch.zeros(max_batch, 1, 8, 2), torch.zeros(max_batch, dtype=torch.int64)
        return torch.randn(max_batch, 6, max_dim), torch.full((max_batch,), max_dim), *caches

    def forward_for_export(self, *args, audio_signal, length, cache_last_channel=None, cache_last_time=None, cache_last_channel_len=None):
        if args:
            raise TypeError("All arguments must be passed by kwargs only for typed methods")
        hidden = self.layer(audio_signal.transpose(1, 2))[:, ::2]
        after = (length + 1) // 2
        places = torch.arange(hidden.shape[1])
        if cache_last_channel is None:
            return (hidden * (places[None] < after[:, None])[..., None]).transpose(1, 2), after
        rows = torch.arange(4)[None] >= 4 - cache_last_channel_len[:, None]
        seen = (cache_last_channel[:, 0] * rows[..., None]).sum(1, keepdim=True)
        hidden = (hidden + seen) * (places[None] < after[:, None])[..., None]
        channel = torch.cat([cache_last_channel[:, 0], hidden], 1)[:, -4:].unsqueeze(1)
        filled = (cache_last_channel_len + hidden.shape[1]).clamp(max=4)
        return hidden.transpose(1, 2), after, channel, cache_last_time * 0.5, filled

    forward = forward_for_export


class PositionalEncoding(nn.Module):
    __module__ = "nemo.collections.asr.parts.submodules.multi_head_attention"

    def __init__(self, rows):
        super().__init__()
        self.register_buffer("pe", torch.zeros(1, rows, 8), persistent=False)


class RelPositionalEncoding(PositionalEncoding):
    __module__ = "nemo.collections.asr.parts.submodules.multi_head_attention"


class LocalAttRelPositionalEncoding(PositionalEncoding):
    __module__ = "nemo.collections.asr.parts.submodules.multi_head_attention"


class MaskedConv1d(nn.Module):
    """Masks by the table that the encoder gives it."""

    __module__ = "nemo.collections.asr.parts.submodules.jasper"

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 3, padding=1)
        self.heads, self.use_mask, self.lens = -1, True, None

    def forward(self, x, lens):
        if self.use_mask:
            x = x * (self.lens[: x.shape[2]][None] < lens[:, None])[:, None]
        return self.conv(x), lens


class ConvASREncoder(Encoder):
    """Counts frames by a table that grows."""

    __module__ = "nemo.collections.asr.modules.conv_asr"

    def __init__(self):
        super().__init__()
        self.pos_enc, self.max_audio_length, self.conv = None, 0, MaskedConv1d()

    forward_for_export = None

    def forward(self, *, audio_signal, length):
        self.update_max_sequence_length(seq_length=audio_signal.size(2))
        return self.conv(audio_signal, length)

    def update_max_sequence_length(self, seq_length):
        if seq_length > self.max_audio_length:
            self.max_audio_length, self.conv.lens = seq_length * 2, torch.arange(0, seq_length * 2)


class Decoder(NeuralModule, Exportable):
    output_types = {"logprobs": Type("BTD", "LogprobsType")}
    input_types = {"encoder_output": Type("BDT", "AcousticEncodedRepresentation")}

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 5)

    def input_example(self, max_batch=1, max_dim=16):
        return (torch.randn(max_batch, 8, max_dim),)

    def forward(self, *, encoder_output):
        return self.layer(encoder_output.transpose(1, 2)).log_softmax(-1)


class ExportableEncDecModel(Exportable):
    __module__ = "nemo.collections.asr.models.asr_model"

    input_module = property(lambda self: self.encoder)
    output_module = property(lambda self: self.decoder)

    def forward_for_export(self, audio_signal, length=None):
        raise AssertionError("it gives no lengths")


class CTCModel(NeuralModule, ExportableEncDecModel):
    def list_export_subnets(self):
        return ["self"]

    def get_export_subnet(self, subnet=None):
        return self if subnet == "self" else getattr(self, subnet)

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()


class LabelModel(CTCModel):
    """Has a method of its own for export."""

    def forward_for_export(self, audio_signal, length):
        encoded, _ = self.encoder(audio_signal=audio_signal, length=length)
        return self.decoder(encoder_output=encoded)


class Prediction(nn.Module):
    """A prediction network that keeps a recurrent state."""

    blank_idx, blank_as_pad = 4, True

    def __init__(self):
        super().__init__()
        self.table, self.cell = nn.Embedding(5, 6), nn.LSTM(6, 6)

    def initialize_state(self, y):
        return [torch.zeros(1, y.shape[0], 6), torch.zeros(1, y.shape[0], 6)]

    def predict(self, y, state, add_sos):
        assert not add_sos
        answer, state = self.cell(self.table(y).transpose(0, 1), tuple(state))
        return answer.transpose(0, 1), list(state)


class StatelessPrediction(Prediction):
    """One that sees the token before."""

    def initialize_state(self, y):
        return [torch.full((y.shape[0], 1), 4)]

    def predict(self, y, state, add_sos):
        return self.table(y) + self.table(state[0]) * 0.5, [y.long()]


class Joint(nn.Module):
    encoder_hidden = 8

    def __init__(self):
        super().__init__()
        self.enc, self.pred = nn.Linear(8, 5), nn.Linear(6, 5)

    def joint(self, f, g):
        return (self.enc(f).unsqueeze(2) + self.pred(g).unsqueeze(1)).log_softmax(-1)


class RNNTDecoderJoint(nn.Module, Exportable):
    __module__ = "nemo.collections.asr.modules.rnnt"

    input_types = {
        "encoder_outputs": Type("BDT", "AcousticEncodedRepresentation"),
        "targets": Type("BT", "LabelsType"),
        "target_length": Type("B", "LengthsType"),
        "input_states_1": Type("DBD", "ElementType"),
        "input_states_2": Type("DBD", "ElementType"),
    }
    output_types = {"outputs": Type("BTTD", "LogprobsType"), "prednet_lengths": Type("B", "LengthsType")}

    def __init__(self, decoder, joint):
        super().__init__()
        self.decoder, self.joint = decoder, joint


class RNNTModel(NeuralModule, ExportableEncDecModel):
    def __init__(self, prediction):
        super().__init__()
        self.encoder, self.decoder, self.joint = Encoder(), prediction, Joint()

    def list_export_subnets(self):
        return ["encoder", "decoder_joint"]

    def get_export_subnet(self, subnet=None):
        return getattr(self, subnet)

    @property
    def decoder_joint(self):
        return RNNTDecoderJoint(self.decoder, self.joint)


class FastPitchModel(NeuralModule, Exportable):
    """Says its types only while it is prepared."""

    __module__ = "nemo.collections.tts.models.fastpitch"
    input_types = output_types = None
    disabled_deployment_input_names = frozenset({"speaker"})

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4)

    def _prepare_for_export(self, noreplace):
        self.input_types = {"text": Type("BT", "TokenIndex"), "pitch": Type("BT", "RegressionValuesType"), "speaker": Type("B", "Index")}
        self.output_types = {"spect": Type("BTD", "MelSpectrogramType")}

    def _export_teardown(self):
        self.input_types = self.output_types = None

    def input_example(self, max_batch=1, max_dim=8):
        text = torch.arange(max_batch * max_dim).reshape(max_batch, max_dim) % 9
        return ({"text": text, "pitch": torch.randn(max_batch, max_dim), "speaker": torch.zeros(max_batch)},)

    def forward_for_export(self, text, pitch, speaker=None):
        return self.table(text) * pitch[..., None]


class AudioPreprocessor(NeuralModule, Exportable):
    """Waveforms to features, four samples each."""

    __module__ = "nemo.collections.asr.modules.audio_preprocessing"
    hop_length = 4
    input_types = {"input_signal": Type("BT", "AudioSignal"), "length": Type("B", "LengthsType")}
    output_types = {"processed_signal": Type("BDT", "MelSpectrogramType"), "processed_length": Type("B", "LengthsType")}

    def __init__(self):
        super().__init__()
        self.kernel = nn.Conv1d(1, 6, 4, stride=4)

    def forward(self, *, input_signal, length):
        inside = torch.arange(input_signal.shape[1])[None] < length[:, None]
        return self.kernel((input_signal * inside)[:, None]), length // 4


class SortformerEncLabelModel(NeuralModule, ExportableEncDecModel):
    """Speakers' probabilities by two of its own methods."""

    __module__ = "nemo.collections.asr.models.sortformer_diar_models"
    output_types = {"preds": Type("BTD", "ProbsType")}
    output_module = None

    def __init__(self):
        super().__init__()
        self.encoder, self.head = Encoder(), nn.Linear(8, 4)

    def frontend_encoder(self, processed_signal, processed_signal_length):
        encoded, lengths = self.encoder(audio_signal=processed_signal, length=processed_signal_length)
        return encoded.transpose(1, 2), lengths

    def forward_infer(self, emb_seq, emb_seq_length):
        inside = torch.arange(emb_seq.shape[1])[None] < emb_seq_length[:, None]
        return self.head(emb_seq).sigmoid() * inside[..., None]
