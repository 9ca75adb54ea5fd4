"""NeMo has an environment of its own (``make test-nemo``); without it nothing here is collected."""

import importlib.util


def _has_nemo():
    try:
        return importlib.util.find_spec("nemo.collections") is not None
    except ModuleNotFoundError:
        return False


collect_ignore_glob = [] if _has_nemo() else ["test_*.py"]
