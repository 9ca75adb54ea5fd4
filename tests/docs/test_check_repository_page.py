"""The page about checking repositories lists the rules, the exit codes and the effects that there are."""

import re
import sys
from typing import get_args

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from _pages import ROOT

from torchport.repository import RULES, Effect

PAGE = (ROOT / "docs" / "check-repository.md").read_text(encoding="utf-8").splitlines()


def rows(first):
    """The cells of the table whose first column has that title."""
    start = next(place for place, line in enumerate(PAGE) if line.startswith(f"| {first} |"))
    for line in PAGE[start + 2 :]:
        if not line.startswith("|"):
            return
        yield tuple(cell.strip() for cell in line.strip("|").split(" | "))


def test_the_table_of_rules_is_the_registry():
    assert list(rows("rule")) == [
        (f"`{rule.id}`", rule.effect + (f", or {rule.strict}" if rule.strict else ""), rule.words, rule.fix) for rule in RULES.values()
    ]


def test_the_effects_are_explained():
    assert [cells[0].strip("`") for cells in rows("word")] == list(get_args(Effect))
    severities = {cells[0].strip("`"): cells[1].removeprefix("an ").removeprefix("a ").partition(":")[0] for cells in rows("word")}
    assert all(severities[rule.effect] == rule.severity for rule in RULES.values())


def test_the_corpus_is_as_large_as_is_said(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests" / "repository")
    from corpus import CASES

    [said] = re.findall(r"of (\d+) repositories", "\n".join(PAGE))
    assert int(said) == len(CASES)
