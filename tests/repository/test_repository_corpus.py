"""Every repository of the corpus is judged as expected, and as the real server judged it."""

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
    """Those about links, permissions and other formats have tests of their own beside this one."""
    elsewhere = {"files/unreadable", "files/link", "files/too-large", "io/naming", "io/dtype-unsupported"}
    assert set(RULES) - set().union(*(case.finds for case in CASES)) == elsewhere
