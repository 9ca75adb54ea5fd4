"""Speech recognition with transducers, RNNT and TDT: an encoder, and a step of the search, which become a file each.

After Graves (https://arxiv.org/abs/1211.3711) and Xu et al., "Efficient Sequence Transduction by Jointly Predicting Tokens and Durations"
(https://arxiv.org/abs/2304.06795).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torchport.errors import HookError
from torchport.models.speech._base import ctc_types
from torchport.models.speech._features import FeatureModel
from torchport.models.speech._metadata import of_encoder, of_sound, of_state, of_transducer, of_vocabulary
from torchport.models.speech._options import Options
from torchport.models.speech._prediction import Prediction, build_prediction
from torchport.models.speech.ctc import CtcDecoder
from torchport.models.speech.encoders import class_of
from torchport.ports import AxisKind, AxisType, NeuralType
from torchport.ports.elements import AcousticEncodedRepresentation, LabelsType, LengthsType, LogprobsType

__all__ = ["HybridModel", "Joint", "Step", "TransducerModel"]

_ROWS, _FRAMES, _TOKENS = 3, 11, 5
_ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class Joint(nn.Module):
    """Scores of every token at every frame after every token.

    Args:
        section: The config's section ``joint``.

    Attributes:
        encoded: Numbers of an encoded frame.
        blank: The index of the blank; durations, where there are any, follow it.
    """

    def __init__(self, section: object) -> None:
        super().__init__()
        options = Options(section, "joint")
        class_of(options, "RNNTJoint")
        inner = Options(options.raw("jointnet"), "joint.jointnet")
        self.encoded, predicted = inner.number("encoder_hidden", least=1), inner.number("pred_hidden", least=1)
        width = inner.number("joint_hidden", least=1)
        activation = _ACTIVATIONS[inner.text("activation", among=_ACTIVATIONS)]()
        dropout = inner.real("dropout", 0.0)
        inner.done()
        self.blank = options.number("num_classes", least=1)
        symbols = self.blank + 1 + options.number("num_extra_outputs", 0, least=0)
        normalised = options.raw("log_softmax")
        Options({"log_softmax": normalised}, "joint").only("log_softmax", None, True, False)
        self.normalised = normalised is not False  # by itself it normalises on a CPU
        options.without_effect("vocabulary", "preserve_memory", "masking_prob")
        options.without_effect("fuse_loss_wer", "fused_batch_size", "experimental_fuse_loss_wer")
        options.done()
        self.pred, self.enc = nn.Linear(predicted, width), nn.Linear(self.encoded, width)
        dropped = [nn.Identity()] if dropout else []  # dropout has a place among the names
        self.joint_net = nn.Sequential(activation, *dropped, nn.Linear(width, symbols))

    def forward(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """``(batch, width, time)`` and ``(batch, token, width)`` to scores ``(batch, time, token, symbol)``."""
        scores: Tensor = self.joint_net(self.enc(encoded.transpose(1, 2)).unsqueeze(2) + self.pred(predicted).unsqueeze(1))
        return scores.log_softmax(dim=-1) if self.normalised else scores


class Step(nn.Module):
    """Prediction and joint network in one graph: what the search computes at each step.

    Args:
        decoder: The prediction network.
        joint: The joint network.
    """

    def __init__(self, decoder: Prediction, joint: Joint) -> None:
        super().__init__()
        self.decoder, self.joint = decoder, joint
        self.states = [f"states_{place + 1}" for place in range(len(decoder.first_states(1)))]

    def forward(
        self,
        encoder_outputs: Tensor,
        targets: Tensor,
        target_length: Tensor,
        input_states_1: Tensor,
        input_states_2: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """One step.

        Args:
            encoder_outputs: Encoded frames, ``(batch, width, time)``.
            targets: Tokens, int32 ``(batch, token)``; the blank stands for the start.
            target_length: Tokens of each row, int32 ``(batch,)``; handed on.
            input_states_1: The state after the tokens before.
            input_states_2: The second state, of a network that has two.

        Returns:
            Scores ``(batch, time, token, symbol)``, ``target_length``, and the states after the tokens.
        """
        states = (input_states_1,) if input_states_2 is None else (input_states_1, input_states_2)
        predicted, after = self.decoder(targets, *states)
        return (self.joint(encoder_outputs, predicted), target_length, *after)

    @property
    def input_types(self) -> dict[str, NeuralType]:
        """Frames, tokens, states."""
        encoded = AxisType(AxisKind.Dimension, self.joint.encoded)
        return {
            "encoder_outputs": NeuralType(("B", encoded, "T"), AcousticEncodedRepresentation()),
            "targets": NeuralType((AxisKind.Batch, self.decoder.tokens_axis), LabelsType(self.decoder.symbols), dtype="int32"),
            "target_length": NeuralType(("B",), LengthsType(), dtype="int32"),
            **{f"input_{name}": self.decoder.state_type() for name in self.states},
        }

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """Scores, lengths, states."""
        kinds = (AxisKind.Batch, AxisKind.Time, self.decoder.tokens_axis, AxisKind.Dimension)
        return {
            "outputs": NeuralType(kinds, LogprobsType()),
            "prednet_lengths": NeuralType(("B",), LengthsType(), dtype="int32"),
            **{f"output_{name}": self.decoder.state_type() for name in self.states},
        }

    def input_example(self) -> tuple[dict[str, Tensor]]:
        """A few frames and tokens after states that matter, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        tokens = _TOKENS if self.decoder.tokens_axis is AxisKind.Time else 1
        states = [
            torch.tanh(torch.randn(one.shape, generator=generator))
            if one.is_floating_point()
            else torch.randint(0, self.decoder.symbols, one.shape, generator=generator)
            for one in self.decoder.first_states(_ROWS)
        ]
        return (
            {
                "encoder_outputs": torch.randn(_ROWS, self.joint.encoded, _FRAMES, generator=generator),
                "targets": torch.randint(0, self.decoder.symbols, (_ROWS, tokens), generator=generator).to(torch.int32),
                "target_length": torch.tensor([tokens, max(1, tokens - 2), 1], dtype=torch.int32),
                **{f"input_{name}": state for name, state in zip(self.states, states, strict=True)},
            },
        )


class TransducerModel(FeatureModel):
    """An encoder, a prediction network and a joint network: NeMo's ``EncDecRNNTModel`` and ``EncDecRNNTBPEModel``, RNNT and TDT.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.
    """

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.decoder = build_prediction(self.cfg.get("decoder"))
        self.joint = Joint(self.cfg.get("joint"))
        self.export_config = {"cache_support": False, "first_chunk": False}

    def forward(self, audio_signal: Tensor, length: Tensor, *caches: Tensor, **named: Tensor) -> Any:
        """Encodes, as `ConformerEncoder` does; the search is `Step` by step."""
        return self.encoder(audio_signal, length, *caches, **named)

    def list_export_subnets(self) -> list[str]:
        """A file each."""
        return ["encoder", "decoder_joint"]

    def get_export_subnet(self, subnet: str | None = None) -> nn.Module:
        """The encoder, or a step of the search.

        Raises:
            HookError: There is no such part.
        """
        return Step(self.decoder, self.joint) if subnet == "decoder_joint" else super().get_export_subnet(subnet)

    def export_metadata(self, subnet: str = "self") -> dict[str, Any]:
        """Feature settings, states, vocabulary, how tokens are searched."""
        stated: dict[str, Any] = {"model_class": self.cfg["target"]}
        if subnet == "decoder_joint":
            ports = {"encoded": "encoder_outputs", "tokens": "targets", "token_lengths": "target_length", "scores": "outputs"}
            stated |= {"task": "transducer_step", **of_sound(self.cfg), "ports": ports, "states": self._states()}
        else:
            stated |= {"task": "transducer_encoder", **of_encoder(self.cfg, self.encoder)}
            stated["ports"] |= {"encoded": "outputs", "encoded_lengths": "encoded_lengths"}
        start = self.decoder.blank if self.decoder.padded else None
        tokens = self.cfg["joint"].get("vocabulary")
        return {**stated, **of_vocabulary(self.cfg, tokens, self.joint.blank), **of_transducer(self.cfg, start)}

    def _states(self) -> list[dict[str, Any]]:
        axis = 1 if self.decoder.tokens_axis is AxisKind.Time else 0
        return [
            of_state(f"input_states_{place}", f"output_states_{place}", state, batch_axis=axis)
            for place, state in enumerate(self.decoder.first_states(1), start=1)
        ]


class HybridModel(TransducerModel):
    """A transducer whose encoder has a CTC decoder too: NeMo's ``EncDecHybridRNNTCTCModel`` and ``EncDecHybridRNNTCTCBPEModel``.

    ``set_export_config({"decoder_type": "ctc"})`` chooses the CTC decoder, in one graph with the encoder.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.
    """

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        section = Options(self.cfg.get("aux_ctc"), "aux_ctc").raw("decoder")
        self.ctc_decoder = CtcDecoder(section, "aux_ctc.decoder")
        self.export_config = {**self.export_config, "decoder_type": "rnnt"}

    @property
    def decodes_ctc(self) -> bool:
        """Whether the CTC decoder was chosen.

        Raises:
            HookError: The choice is none of the two.
        """
        chosen = self.export_config["decoder_type"]
        if chosen not in ("rnnt", "ctc"):
            raise HookError("there is no such decoder", where="export_config.decoder_type", found=chosen, expected="rnnt or ctc")
        return bool(chosen == "ctc")

    def forward(self, audio_signal: Tensor, length: Tensor, *caches: Tensor, **named: Tensor) -> Any:
        """Log-probabilities, lengths and caches where CTC was chosen, else what the encoder gives."""
        encoded, *others = self.encoder(audio_signal, length, *caches, **named)
        return (self.ctc_decoder(encoded) if self.decodes_ctc else encoded, *others)

    def list_export_subnets(self) -> list[str]:
        """One file with CTC, else as any transducer's."""
        return ["self"] if self.decodes_ctc else super().list_export_subnets()

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """Log-probabilities and lengths where CTC was chosen, else those of the encoder."""
        return {**ctc_types(), **self.encoder.cache_types} if self.decodes_ctc else self.encoder.output_types

    def export_metadata(self, subnet: str = "self") -> dict[str, Any]:
        """As of a CTC model where CTC was chosen, else as of any transducer."""
        if not self.decodes_ctc:
            return super().export_metadata(subnet)
        stated = of_encoder(self.cfg, self.encoder)
        stated["ports"] |= {"scores": "logprobs", "score_lengths": "encoded_lengths"}
        tokens = self.cfg["aux_ctc"]["decoder"].get("vocabulary")
        return {"task": "ctc", "model_class": self.cfg["target"], **stated, **of_vocabulary(self.cfg, tokens, self.ctc_decoder.blank)}
