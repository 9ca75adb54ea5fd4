"""Prediction network and joint network of a transducer in one graph: one step of greedy decoding."""

from __future__ import annotations

from typing import Any

from torchport.integrations.nemo._graph import BATCH, Graph, ports_of, types_of
from torchport.integrations.nemo._states import RecurrentState
from torchport.ports import AxisKind, NeuralType
from torchport.ports.elements import LabelsType, LogprobsType

__all__ = ["decoder_joint"]

_FRAMES, _TOKENS = 11, 5


def decoder_joint(module: Any) -> Graph:
    """What NeMo's decoding loop computes at each step: the tokens as they are, without a start symbol, on the state that they follow.

    The scores are the joint network's own: log-probabilities, unless it is set otherwise.
    """
    import torch

    decoder, joint = module.decoder, module.joint
    inputs, outputs = types_of(module, "input"), types_of(module, "output")
    symbols = decoder.blank_idx + (1 if decoder.blank_as_pad else 0)
    states = list(decoder.initialize_state(torch.zeros(BATCH, 1)))
    names = [f"input_states_{place + 1}" for place in range(len(states))]
    after = [f"output_states_{place + 1}" for place in range(len(states))]
    recurrent = all(state.is_floating_point() for state in states)
    steps = _TOKENS if recurrent else 1  # a network without recurrence takes its context from the state, one token at a time
    if recurrent:
        state_type = NeuralType((AxisKind.Dimension, AxisKind.Batch, AxisKind.Dimension), RecurrentState())
        states = [torch.tanh(torch.randn_like(state)) for state in states]
    else:
        state_type = NeuralType((AxisKind.Batch, AxisKind.Dimension), LabelsType(), dtype=str(states[0].dtype).removeprefix("torch."))
        states = [_tokens(state.shape, symbols).to(state.dtype) for state in states]
    example = {
        "encoder_outputs": torch.randn(BATCH, joint.encoder_hidden, _FRAMES),
        "targets": _tokens((BATCH, steps), symbols).to(torch.int32),
        "target_length": torch.tensor([steps, max(1, steps - 2), 1], dtype=torch.int32),
        **dict(zip(names, states, strict=True)),
    }
    ports = ports_of(inputs, ["encoder_outputs", "targets", "target_length"])
    results = ports_of(outputs, ["outputs", "prednet_lengths"])
    if not recurrent:
        ports["targets"] = NeuralType((AxisKind.Batch, AxisKind.Dimension), LabelsType())
        results["outputs"] = NeuralType((AxisKind.Batch, AxisKind.Time, AxisKind.Dimension, AxisKind.Dimension), LogprobsType())
    ports["targets"] = NeuralType(ports["targets"].axes, ports["targets"].elements_type, dtype="int32")
    for named, name in ((ports, "target_length"), (results, "prednet_lengths")):
        named[name] = NeuralType(named[name].axes, named[name].elements_type, dtype="int32")

    def forward(encoder_outputs: Any, targets: Any, target_length: Any, **given: Any) -> Any:
        predicted, states_after = decoder.predict(targets, state=[given[name] for name in names], add_sos=False)
        scores = joint.joint(encoder_outputs.transpose(1, 2), predicted)
        return (scores, target_length, *states_after)

    return Graph(forward, {**ports, **dict.fromkeys(names, state_type)}, {**results, **dict.fromkeys(after, state_type)}, example)


def _tokens(shape: tuple[int, ...], symbols: int) -> Any:
    """Token ids, the first and the last one among them."""
    import torch

    made = torch.randint(0, symbols, shape)
    made.view(-1)[0], made.view(-1)[-1] = symbols - 1, 0
    return made
