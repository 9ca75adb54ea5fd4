"""Every test starts from the same random state, whatever ran before it: a weight drawn once in a thousand runs is no test."""

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _seeded(request):
    if "torch" in request.module.__dict__ or "torchport" in request.module.__dict__:
        import torch

        torch.manual_seed(0)
