"""The base of this room's dispatch modes: it keeps torch's compiler out, whose import alone costs more than a second."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode  # semi-public since torch 1.13; torch names no other door

__all__ = ["Mode"]


class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context where every operation of torch passes through ``__torch_dispatch__``: torch.cond and its like too, which have no schema."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Says that no guard against ``torch.compile`` is needed here.

        Private in torch 2.13, which calls it a temporary measure; the day it goes, this override is never called and may go too.
        """
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Says that torch.cond, which compiles its branches when it is called, does so without this mode."""
        return True
