"""Contract: what an artifact promises to its clients, as a lock file, and what a change of it means to them."""

from __future__ import annotations

from torchport.contract._artifact import contract_of
from torchport.contract._changes import Change, Changes
from torchport.contract._diff import diff, read_contract
from torchport.contract._lock import LOCK_VERSION, format_lock, parse_lock, read_lock, write_lock
from torchport.contract._records import AxisTerm, Contract, PortTerm, SizeRange
from torchport.contract._rules import RULES, Grade, Rule

__all__ = [
    # what is promised
    "Contract",
    "PortTerm",
    "AxisTerm",
    "SizeRange",
    "contract_of",
    "read_contract",
    # the lock
    "format_lock",
    "parse_lock",
    "read_lock",
    "write_lock",
    "LOCK_VERSION",
    # what changed
    "diff",
    "Change",
    "Changes",
    # what that means
    "RULES",
    "Rule",
    "Grade",
]
