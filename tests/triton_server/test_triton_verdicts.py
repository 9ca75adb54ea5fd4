"""The real server loads and refuses the repositories of the corpus as the checker says, with and without completing configurations."""

import sys

import pytest
from verdicts import LIVE, STRICT, judged, recorded

from torchport.repository import check_repository
from torchport.serving import TritonServer

NAMES = [case.name for case in LIVE]
LOADED = [case for case in LIVE if "refused" not in recorded()[case.name]["usual"].values()]


@pytest.fixture(scope="module", params=[pytest.param(mode, marks=pytest.mark.xdist_group(mode)) for mode in ("usual", "strict")])
def server(request, environment, tmp_path_factory):
    """One server for all; it loads what it is told to."""
    options = STRICT if request.param == "strict" else ()
    folder = tmp_path_factory.mktemp(request.param)
    with TritonServer(folder, environment=environment, options=("--model-control-mode=explicit", *options)) as running:
        yield request.param, running


@pytest.fixture
def told(server):
    """A test that fails shows what the server logged meanwhile."""
    before = len(server[1].log)
    yield
    sys.stdout.write(server[1].log[before:])


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("case", LIVE, ids=NAMES)
def test_the_server_says_what_the_checker_says(case, server):
    mode, running = server
    if mode == "strict" and case not in LOADED:
        pytest.skip("refused already by a server that completes")
    verdicts, said = judged(running, case)
    report = check_repository(running.repository, auto_complete=mode == "usual")
    assert dict(report.models) == verdicts, f"{said}\n{report.text()}"
    assert recorded()[case.name][mode] == verdicts
