"""Repository: what is wrong with a model repository for Triton, said without a server."""

from __future__ import annotations

from torchport.repository._check import check_repository
from torchport.repository._records import Finding, Report, Verdict
from torchport.repository._rules import RULES, Effect, Rule, Severity

__all__ = [
    # the check
    "check_repository",
    # what it found
    "Report",
    "Finding",
    "Verdict",
    # what it looks for
    "RULES",
    "Rule",
    "Effect",
    "Severity",
]
