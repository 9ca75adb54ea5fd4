"""The page about the contract lock says what the code does: its rules, its entries, its workflow."""

import json
import shlex
import sys

import yaml

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from _pages import ROOT, blocks

from torchport.contract import LOCK_VERSION, RULES, Contract, format_lock

PAGE = ROOT / "docs" / "contract-lock.md"


def rows(first):
    """The cells of the table whose first column has that title."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"| {first} |"))
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_the_table_of_rules_is_the_registry():
    assert [tuple(cells) for cells in rows("rule")] == [
        (f"`{rule.id}`", rule.grade, rule.words, f"`{rule.reverse}`") for rule in RULES.values()
    ]


def test_the_table_of_entries_is_the_lock():
    document = json.loads(format_lock(Contract("onnx", (), ())))
    named = {name.strip("` ") for cells in rows("entry") for name in cells[0].split(",")}
    assert named - {"axes"} == set(document)
    assert f"the version of this layout: {LOCK_VERSION}" in PAGE.read_text(encoding="utf-8")


def test_the_workflow_runs(tmp_path, monkeypatch):
    from torchport.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("keyword_spotter",):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    found = list(blocks(PAGE))
    model = next(block for block in found if block.mark == "file")
    (tmp_path / model.reason).write_text("\n".join(model.lines) + "\n")
    workflow = yaml.safe_load("\n".join(next(block for block in found if block.language == "yaml").lines))
    commands = [shlex.split(step["run"]) for step in workflow["jobs"]["contract"]["steps"] if step.get("run", "").startswith("torchport")]
    assert len(commands) == 2
    assert app(commands[0][1:], standalone_mode=False) == 0
    assert app(["inspect", "keyword.onnx", "--lock", "keyword.contract.json"], standalone_mode=False) == 0
    assert app(commands[1][1:], standalone_mode=False) == 0
