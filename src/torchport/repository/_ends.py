"""What a model takes and gives, as the server sees it: by its configuration, or by its file where the server completes that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torchport.repository._files import VersionFile
from torchport.repository._folder import Model
from torchport.repository._sizes import dtype_name

__all__ = ["End", "ends_of"]


@dataclass(frozen=True)
class End:
    """One end of a tensor: what a port says of it."""

    dtype: str
    dims: tuple[int, ...]
    batched: bool

    @property
    def full(self) -> tuple[int, ...]:
        """The dims with the batch."""
        return (-1, *self.dims) if self.batched else self.dims


def ends_of(model: Model, kind: str, files: Mapping[int, VersionFile]) -> dict[str, End]:
    """A model's ports: those of its configuration, or of its file where they are left to the server."""
    ports = getattr(model.message, kind) if model.config is not None else ()
    if ports:
        return {port.name: End(dtype_name(port, "data_type"), tuple(port.dims), model.batched) for port in ports}
    newest = next((files[version] for version in reversed(model.served) if version in files), None)
    if newest is None:
        return {}
    known = newest.inputs if kind == "input" else newest.outputs
    return {
        name: End(tensor.dtype, tensor.dims[1:] if model.batched else tensor.dims, model.batched)
        for name, tensor in known.items()
        if tensor is not None and tensor.dims is not None
    }
