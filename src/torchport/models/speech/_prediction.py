"""The prediction network of a transducer: what the tokens so far let expect. With recurrence, or with the last few tokens only.

After Graves, "Sequence Transduction with Recurrent Neural Networks" (https://arxiv.org/abs/1211.3711), and Ghodsi et al., "RNN-Transducer
with Stateless Prediction Network" (https://doi.org/10.1109/ICASSP40776.2020.9054419).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchport.models.speech._embedding import embedding
from torchport.models.speech._options import Options
from torchport.models.speech._states import RecurrentState
from torchport.models.speech.encoders import class_of
from torchport.ports import AxisKind, AxisType, ElementType, NeuralType
from torchport.ports.elements import LabelsType

__all__ = ["ContextPrediction", "Prediction", "RecurrentPrediction", "build_prediction"]

_TRAINING = ("dropout", "t_max", "forget_gate_bias", "weights_init_scale", "hidden_hidden_bias_scale")


class RecurrentPrediction(nn.Module):
    """An LSTM over embedded tokens.

    Args:
        options: The config's section ``decoder``.

    Attributes:
        width: Numbers for each token.
        symbols: How many token indices it takes, the blank among them where it is a token.
        blank: The index of the blank.
        padded: Whether the blank stands for the start.
    """

    tokens_axis = AxisKind.Time

    def __init__(self, options: Options) -> None:
        super().__init__()
        inner = Options(options.raw("prednet"), f"{options.where}.prednet")
        self.width, self.layers = inner.number("pred_hidden", least=1), inner.count("pred_rnn_layers")
        self.blank = options.number("vocab_size", least=1)
        self.padded = options.flag("blank_as_pad", True)
        self.symbols = self.blank + int(self.padded)
        options.only("normalization_mode", None)
        inner.only("rnn_hidden_size", -1, 0, self.width)
        inner.without_effect(*_TRAINING)
        inner.done()
        embed = embedding(self.symbols, self.width, self.blank if self.padded else None)
        recurrent = nn.ModuleDict({"lstm": nn.LSTM(self.width, self.width, self.layers)})
        self.prediction = nn.ModuleDict({"embed": embed, "dec_rnn": recurrent})

    def forward(self, targets: Tensor, *states: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens ``(batch, token)`` after the states to ``(batch, token, width)`` and the states after them."""
        embedded = self.prediction["embed"](targets).transpose(0, 1)
        out, after = self.prediction["dec_rnn"]["lstm"](embedded, states)  # type: ignore[index]  # a module of modules
        return out.transpose(0, 1), after

    def first_states(self, batch: int) -> list[Tensor]:
        """The states before the first token: hidden and cell states, ``(layer, batch, width)``."""
        return [torch.zeros(self.layers, batch, self.width) for _ in range(2)]

    def state_type(self) -> NeuralType:
        """What a state is."""
        sizes = (AxisType(AxisKind.Dimension, self.layers), AxisKind.Batch, AxisType(AxisKind.Dimension, self.width))
        return NeuralType(sizes, RecurrentState())


class ContextPrediction(nn.Module):
    """The last tokens, embedded side by side; one token at a time.

    Args:
        options: The config's section ``decoder``.
    """

    tokens_axis = AxisKind.Dimension

    def __init__(self, options: Options) -> None:
        super().__init__()
        inner = Options(options.raw("prednet"), f"{options.where}.prednet")
        self.width = inner.number("pred_hidden", least=1)
        self.context = options.count("context_size")
        if self.context < 2:
            Options({"context_size": self.context}, options.where).number("context_size", least=2)
        self.blank = options.number("vocab_size", least=1)
        self.padded = options.flag("blank_as_pad", True)
        self.symbols = self.blank + int(self.padded)
        norm = options.raw("normalization_mode")
        Options({"normalization_mode": norm}, options.where).only("normalization_mode", None, "layer")
        inner.without_effect("pred_rnn_layers", *_TRAINING)
        inner.done()
        self.normalised = norm == "layer"
        older = self.width // 2 // self.context
        sizes = [self.width - older * (self.context - 1), *[older] * (self.context - 1)]
        self.prediction = nn.ModuleDict({"embeds": nn.ModuleList(embedding(self.blank + 1, size) for size in sizes)})

    def forward(self, targets: Tensor, *states: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A token ``(batch, 1)`` after those in the state to ``(batch, 1, width)`` and the state after it."""
        tokens = torch.cat((states[0], targets.to(states[0].dtype)), dim=1)
        embeds: Any = self.prediction["embeds"]
        last = self.context - 1
        out = torch.cat([embed(tokens[:, last - back : last - back + 1]) for back, embed in enumerate(embeds)], dim=2)
        return F.layer_norm(out, (self.width,)) if self.normalised else out, (tokens[:, 1:],)

    def first_states(self, batch: int) -> list[Tensor]:
        """The state before the first token: blanks, ``(batch, token)``."""
        return [torch.full((batch, self.context - 1), self.blank)]

    def state_type(self) -> NeuralType:
        """What a state is."""
        kind: ElementType = LabelsType(self.symbols)
        return NeuralType((AxisKind.Batch, AxisType(AxisKind.Dimension, self.context - 1)), kind, dtype="int64")


Prediction: TypeAlias = RecurrentPrediction | ContextPrediction


def build_prediction(section: object) -> Prediction:
    """Builds the prediction network that the section ``decoder`` describes.

    Raises:
        UnsupportedOptionError: It is of another class, or uses an option that is not rebuilt.
    """
    options = Options(section, "decoder")
    recurrent = class_of(options, "RNNTDecoder", "StatelessTransducerDecoder") == "RNNTDecoder"
    made: Prediction = RecurrentPrediction(options) if recurrent else ContextPrediction(options)
    options.without_effect("random_state_sampling")
    options.done()
    return made
