"""The error of an export that no strategy proved, and which other formats would have had other ways."""

from __future__ import annotations

from collections.abc import Sequence

from torchport.capture import keeps_decisions
from torchport.emit import Format, formats
from torchport.errors import FrozenDecisionError, ProofError, TorchportError
from torchport.result import Attempt

__all__ = ["formats_that_decide", "other_formats", "worst"]

_MAX = 500


def other_formats(format: Format) -> str:
    """The extensions of formats that have strategies which this one does not have, in words."""
    return " or ".join(one.suffixes[0] for one in formats.values() if set(one.strategies) - set(format.strategies))


def formats_that_decide(format: Format) -> str:
    """The extensions of other formats that have a strategy which keeps what Python decides by values, in words."""
    others = (one for one in formats.values() if one.name != format.name)
    return " or ".join(one.suffixes[0] for one in others if any(keeps_decisions(name) for name in one.strategies))


def worst(errors: Sequence[TorchportError], attempts: Sequence[Attempt]) -> TorchportError:
    """The error to raise when no strategy proved: a failed proof says most, then the exporter's evidence, then what went wrong first.

    Args:
        errors: One for each attempt; at least one.
        attempts: What was tried.
    """
    ranked = [error for kind in (ProofError, FrozenDecisionError, TorchportError) for error in errors if isinstance(error, kind)]
    chosen = ranked[0]
    chosen.also_tried = tuple(
        f"{attempt.strategy}: {attempt.outcome}: {_brief(_reason(attempt, error))}"
        for attempt, error in zip(attempts, errors, strict=True)
        if error is not chosen
    )
    return chosen


def _reason(attempt: Attempt, error: TorchportError) -> str:
    """Why it failed; of a failed proof also what to look at, which is not what the other error says."""
    return f"{attempt.reason}; {error.hint}" if isinstance(error, ProofError) and error.hint else attempt.reason


def _brief(reason: str) -> str:
    text = " ".join(reason.split())
    return text if len(text) <= _MAX else f"{text[:_MAX]} …"
