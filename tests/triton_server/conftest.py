"""The server has an environment of its own (``make test-triton``): numpy below 2; without it nothing here is collected."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

HAS_SERVER = importlib.util.find_spec("pytriton") is not None and int(np.__version__.partition(".")[0]) < 2

collect_ignore_glob = [] if HAS_SERVER else ["test_*.py"]


@pytest.fixture(scope="session")
def environment():
    """The server that is installed here."""
    from torchport.serving import find_server

    return find_server()


@pytest.fixture
def serve(environment):
    """Starts servers that end with the test; a test that fails shows their logs."""
    from torchport.serving import TritonServer

    running = []

    def start(repository, *options, **more):
        server = TritonServer(repository, environment=environment, options=options, **more)
        running.append(server)
        server.start()
        return server

    yield start
    for server in running:
        server.stop()
        sys.stdout.write(server.log)  # pytest shows it where the test failed
