"""An LSTM that projects its output becomes one that does not, and linears behind it: neither exporter of torch can write the first.

The output is ``h = P m``, with ``m`` what an LSTM without a projection puts out, and the recurrence sees ``W h = (W P) m``: the same cell
on ``m`` with the recurrent weights ``W P`` gives the same numbers. An initial ``h`` becomes an ``m`` that ``P`` maps on it.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from torchport.prepare.replacement import Replacement, borrowed

__all__ = ["PlainLSTM", "ProjectedLSTMReplacement"]

States = tuple[torch.Tensor, torch.Tensor]


class _Layer(nn.Module):
    """One layer: a plain LSTM, and a projection for each direction."""

    def __init__(self, old: nn.LSTM, layer: int) -> None:
        super().__init__()
        ends = [f"_l{layer}", f"_l{layer}_reverse"][: 2 if old.bidirectional else 1]
        width = old.input_size if layer == 0 else old.proj_size * len(ends)
        self.lstm = nn.LSTM(width, old.hidden_size, 1, old.bias, old.batch_first, bidirectional=old.bidirectional, device="meta")
        self.projections = nn.ParameterList()
        for index, end in enumerate(ends):
            projection, recurrent = getattr(old, f"weight_hr{end}"), getattr(old, f"weight_hh{end}")
            own = end.replace(f"_l{layer}", "_l0")
            for part in ("weight_ih", "bias_ih", "bias_hh")[: 3 if old.bias else 1]:
                setattr(self.lstm, part + own, borrowed(getattr(old, part + end)))
            wide = (recurrent.detach().double() @ projection.detach().double()).to(recurrent.dtype)
            setattr(self.lstm, f"weight_hh{own}", nn.Parameter(wide, requires_grad=recurrent.requires_grad))
            self.projections.append(borrowed(projection))
            back = torch.linalg.pinv(projection.detach().double()).to(projection.dtype)
            self.register_buffer(f"back_{index}", back, persistent=False)
        self.size = old.hidden_size

    def forward(self, x: Any, states: States | None) -> tuple[Any, States]:
        if states is not None:
            h = torch.stack([nn.functional.linear(one, getattr(self, f"back_{index}")) for index, one in enumerate(states[0].unbind(0))])
            states = (h, states[1])
        y, (h, c) = self.lstm(x, states)
        h = torch.stack([nn.functional.linear(one, self.projections[index]) for index, one in enumerate(h.unbind(0))])
        if isinstance(y, PackedSequence):
            return y._replace(data=self._projected(y.data)), (h, c)
        return self._projected(y), (h, c)

    def _projected(self, y: torch.Tensor) -> torch.Tensor:
        parts = [nn.functional.linear(one, self.projections[index]) for index, one in enumerate(torch.split(y, self.size, -1))]
        return torch.cat(parts, -1)


class PlainLSTM(nn.Module):
    """What a projecting LSTM computes, without one: takes and gives the same.

    Args:
        old: The LSTM with ``proj_size`` above 0.
    """

    def __init__(self, old: nn.LSTM) -> None:
        super().__init__()
        for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size"):
            setattr(self, name, getattr(old, name))
        self.layers = nn.ModuleList(_Layer(old, layer) for layer in range(old.num_layers))
        self.directions = 2 if old.bidirectional else 1

    def flatten_parameters(self) -> None:
        """Models call it before ``forward``; there is nothing to do."""

    def forward(self, input: Any, hx: States | None = None) -> tuple[Any, States]:
        """As ``torch.nn.LSTM``."""
        hs, cs = [], []
        for place, layer in enumerate(self.layers):
            own = slice(place * self.directions, (place + 1) * self.directions)
            input, (h, c) = layer(input, None if hx is None else (hx[0][own], hx[1][own]))
            hs.append(h)
            cs.append(c)
        return input, (torch.cat(hs), torch.cat(cs))


class ProjectedLSTMReplacement(Replacement):
    """``nn.LSTM(proj_size=…)`` becomes plain LSTMs and linears."""

    name = "projected-lstm"

    def matches(self, module: nn.Module) -> bool:
        """By type, where nothing random lies between its layers."""
        return type(module) is nn.LSTM and module.proj_size > 0 and not (module.training and module.dropout > 0)

    def replace(self, module: nn.Module) -> nn.Module:
        """The LSTM on the unprojected output."""
        assert isinstance(module, nn.LSTM)
        return PlainLSTM(module)

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """A few steps of a small batch; batch and time have the same size, whichever comes first."""
        assert isinstance(module, nn.LSTM)
        x = torch.randn(3, 3, module.input_size, generator=torch.Generator().manual_seed(0))
        return (x.to(next(module.parameters())),)
