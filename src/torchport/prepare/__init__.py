"""Prepares a model for capture, and leaves it as it was found: restoring, swapping, hooks."""

from __future__ import annotations

from torchport.prepare import _builtin as _builtin
from torchport.prepare._records import Prepared, Swap
from torchport.prepare._vault import dispatch_mode
from torchport.prepare.digest import state_digest
from torchport.prepare.hooks import check_prepare_names, run_prepare_hooks
from torchport.prepare.multihead_attention import answers_of_fast_paths
from torchport.prepare.replacement import PairReplacement, Replacement, Stage, borrowed, defined_by, replacements, shell
from torchport.prepare.state import as_found_again, kept_as_found, watched
from torchport.prepare.walk import replace_for_export, swap_modules

__all__ = [
    # records
    "Prepared",
    "Swap",
    # the model is left as it was found
    "as_found_again",
    "kept_as_found",
    "state_digest",
    "watched",
    # what a run does
    "dispatch_mode",
    # swaps
    "check_prepare_names",
    "replace_for_export",
    "run_prepare_hooks",
    "swap_modules",
    # what to know of torch's own layers
    "answers_of_fast_paths",
    # writing a replacement
    "PairReplacement",
    "Replacement",
    "Stage",
    "borrowed",
    "defined_by",
    "replacements",
    "shell",
]
