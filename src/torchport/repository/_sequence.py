"""Sequences: the state that is carried along, and the controls that say where a sequence begins."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torchport.repository._against_file import listed
from torchport.repository._files import Tensor, VersionFile
from torchport.repository._folder import Model, Notes
from torchport.repository._scheduling import check_preferred
from torchport.repository._sizes import byte_count, check_bytes, dtype_name
from torchport.repository._text import Path

__all__ = ["check_sequence", "filled_inputs"]

_CORRID = 3
_CORRID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
_VALUES = {"int32_false_true": "TYPE_INT32", "fp32_false_true": "TYPE_FP32", "bool_false_true": "TYPE_BOOL"}


def filled_inputs(model: Model) -> set[str]:
    """Inputs of the model's file that clients do not send: the server fills them."""
    config = model.message
    names = {control.name for control in config.sequence_batching.control_input}
    names |= {state.input_name for state in config.sequence_batching.state}
    return names | {name for port in config.batch_input for name in port.target_name}


def check_sequence(notes: Notes, model: Model, files: dict[int, VersionFile]) -> None:
    """Everything that stands in ``sequence_batching``."""
    config = model.message
    if not config.HasField("sequence_batching"):
        return
    batching, at = config.sequence_batching, ("sequence_batching", 0)
    check_preferred(notes, model, batching.oldest.preferred_batch_size, (*at, "oldest", 0, "preferred_batch_size"))
    if batching.direct.minimum_slot_utilization < 0 or batching.direct.minimum_slot_utilization > 1:
        found = batching.direct.minimum_slot_utilization
        notes.say("sequence/slots", model, "there are no such slots", at=(*at, "direct", 0, "minimum_slot_utilization"), found=found)
    newest = next((files[version] for version in reversed(model.served) if version in files), None)
    _check_controls(notes, model, batching, (*at, "control_input"), newest)
    for number, state in enumerate(batching.state):
        _check_state(notes, model, state, (*at, "state", number), newest)
    for name in sorted(filled_inputs(model) & {port.name for port in config.input}):
        notes.say("sequence/state-listed", model, f"input {name!r} is filled by the server", at=at, found=name)


def _check_state(notes: Notes, model: Model, state: Any, at: Path, file: VersionFile | None) -> None:
    said = f"state {state.input_name!r}"
    if not state.initial_state:
        notes.say("sequence/state-uninitialised", model, f"{said} has no initial_state", at=at, expected="initial_state")
    if len(state.initial_state) > 1:
        notes.say(
            "sequence/state-initial", model, f"{said} has several", at=(*at, "initial_state"), found=len(state.initial_state), expected=1
        )
    for number, initial in enumerate(state.initial_state):
        _check_initial(notes, model, state, initial, (*at, "initial_state", number))
    if file is None or not file.outputs:
        return
    for kind, name, known in (("input", state.input_name, file.inputs), ("output", state.output_name, file.outputs)):
        tensor = known.get(name)
        if tensor is None:
            expected = ", ".join(sorted(known))
            notes.say("sequence/state-port", model, f"the file has no {kind} {name!r}", at=(*at, f"{kind}_name"), expected=expected)
            continue
        stated = dtype_name(state, "data_type")
        if stated != tensor.dtype:
            where, other = (*at, "data_type"), f"{said} and the file's {kind}"
            notes.say("sequence/state-dtype", model, other, at=where, found=stated, expected=tensor.dtype)
        _check_state_dims(notes, model, state, tensor, kind, at)


def _check_state_dims(notes: Notes, model: Model, state: Any, tensor: Tensor, kind: str, at: Path) -> None:
    if tensor.dims is None:
        return
    axes = tensor.dims[1:] if model.batched else tensor.dims
    dims = tuple(state.dims)
    fits = len(dims) == len(axes) and all(axis in (-1, size) or size == -1 for axis, size in zip(axes, dims, strict=True))
    if not fits:
        said = f"state {state.input_name!r} and the file's {kind}"
        notes.say("sequence/state-dims", model, said, at=(*at, "dims"), found=listed(dims), expected=listed(axes))


def _check_initial(notes: Notes, model: Model, state: Any, initial: Any, at: Path) -> None:
    said, wrong = f"the initial state of {state.input_name!r}", []
    if not initial.name:
        wrong.append("no name")
    if initial.data_type != state.data_type:
        wrong.append(f"{dtype_name(initial, 'data_type')}, not {dtype_name(state, 'data_type')}")
    dims, own = tuple(initial.dims), tuple(state.dims)
    if any(size < 0 for size in dims) or len(dims) != len(own) or any(size not in (-1, one) for size, one in zip(own, dims, strict=True)):
        wrong.append(f"{listed(dims)}, not {listed(own)} with every size fixed")
    choice = initial.WhichOneof("data")
    if choice is None:
        wrong.append("neither zero_data nor data_file")
    if wrong:
        notes.say("sequence/state-initial", model, said, at=at, found="; ".join(wrong))
    elif choice == "data_file":
        count = byte_count(initial)
        check_bytes(notes, model, "sequence/state-file", said, "initial_state", initial.data_file, count, (*at, "data_file"))


def _check_controls(notes: Notes, model: Model, batching: Any, at: Path, file: VersionFile | None) -> None:
    names = Counter(control.name for control in batching.control_input)
    kinds = Counter(one.kind for control in batching.control_input for one in control.control)
    for number, control in enumerate(batching.control_input):
        here = (*at, number)
        if not control.name or names[control.name] > 1:
            notes.say("sequence/control", model, "a control has no name of its own", at=here, found=control.name or "no name")
        for one in control.control:
            if kinds[one.kind] > 1:
                notes.say("sequence/control", model, "a kind of control stands twice", at=here, found=dtype_name(one, "kind"))
            dtype = _control_dtype(notes, model, control.name, one, here)
            if dtype and file is not None and file.outputs:
                _check_control_port(notes, model, control.name, dtype, here, file)


def _control_dtype(notes: Notes, model: Model, name: str, control: Any, at: Path) -> str:
    """The data_type of a control's input; empty where it says none or a wrong one."""
    said = f"control {name!r}"
    given = [field for field in _VALUES if getattr(control, field)]
    if control.kind == _CORRID:
        dtype = dtype_name(control, "data_type")
        if given:
            notes.say("sequence/control-values", model, f"{said} is a correlation id", at=at, found=", ".join(given))
        if dtype not in _CORRID_TYPES:
            notes.say("sequence/corrid-type", model, said, at=at, found=dtype)
            return ""
        return dtype
    if len(given) != 1 or len(getattr(control, given[0])) != 2:
        found = ", ".join(f"{field} of {len(getattr(control, field))}" for field in given) or "no values"
        notes.say("sequence/control-values", model, said, at=at, found=found)
        return ""
    return _VALUES[given[0]]


def _check_control_port(notes: Notes, model: Model, name: str, dtype: str, at: Path, file: VersionFile) -> None:
    tensor = file.inputs.get(name)
    if tensor is None:
        expected = ", ".join(sorted(file.inputs))
        notes.say("sequence/control-port", model, f"the file has no input {name!r}", at=at, found=name, expected=expected)
        return
    dims = tensor.dims[1:] if model.batched and tensor.dims else tensor.dims
    if dims != (1,) or tensor.dtype != dtype:
        found = f"{tensor.dtype or tensor.stated} {listed(dims)} in the file"
        notes.say("sequence/control-port", model, f"control {name!r}", at=at, found=found, expected=f"{dtype} [1]")
