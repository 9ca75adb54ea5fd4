"""Every repository of the corpus is judged as expected, and as the real server judged it."""

import json
from pathlib import Path

import pytest
from corpus import CASES, write

from torchport.repository import RULES, check_repository

IDS = [case.name for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_repository_is_judged(case, tmp_path):
    write(case, tmp_path)
    report = check_repository(tmp_path)
    assert {finding.rule for finding in report.findings} == case.finds, report.text()
    strict = check_repository(tmp_path, auto_complete=False)
    assert {finding.rule for finding in strict.findings} == case.strict, strict.text()


def test_the_names_are_different():
    assert len(set(IDS)) == len(IDS) >= 60


def test_every_rule_has_a_case():
    """Those about links, permissions, sizes and killed packagings have tests of their own beside this one."""
    elsewhere = {"files/unreadable", "files/link", "files/too-large", "files/unfinished"}
    assert set(RULES) - set().union(*(case.finds for case in CASES)) == elsewhere


RECORDED = json.loads(Path(__file__).with_name("server_verdicts.json").read_text(encoding="utf-8"))["verdicts"]


@pytest.mark.parametrize("name", RECORDED)
def test_the_verdict_is_the_servers(name, tmp_path):
    """What the real server said is on file; ``make test-triton`` asks it again."""
    case = next(case for case in CASES if case.name == name)
    write(case, tmp_path)
    for mode, verdicts in RECORDED[name].items():
        report = check_repository(tmp_path, auto_complete=mode == "usual")
        assert dict(report.models) == verdicts, report.text()


def test_every_case_that_files_decide_was_tried():
    assert set(RECORDED) == {case.name for case in CASES if case.live}
