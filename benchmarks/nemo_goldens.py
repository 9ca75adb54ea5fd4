"""Records what NeMo's eager models answer, for the tests that have no NeMo.

Run it where NeMo is installed: ``python benchmarks/nemo_goldens.py [name…]``. Each file of ``tests/data/nemo`` holds a config as NeMo's
archive has it, the names and shapes of the weights, and answers. Weights and inputs are not in it: `nemo_seeded` makes them anew. Without a
name, only what is new is written.
"""

from __future__ import annotations

import json
import logging
import sys
import tarfile
import tempfile
import warnings
from pathlib import Path
from typing import Any

import nemo_models as zoo
import numpy as np
import torch
from nemo_seeded import seeded_weights
from nemo_variants import VARIANTS

FOLDER = Path(__file__).parent.parent / "tests" / "data" / "nemo"


def build(name: str) -> Any:
    """NeMo's model of a variant, with seeded weights, in eval mode."""
    from nemo.core import ModelPT
    from nemo.utils import logging as nemo_logging
    from omegaconf import OmegaConf

    nemo_logging.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ModelPT.from_config_dict(OmegaConf.create(VARIANTS[name]))
    state = model.state_dict()
    kept = {key: value for key, value in state.items() if key.startswith("preprocessor.")}
    model.load_state_dict({**seeded_weights(state), **kept})
    if "streaming" in name:
        model.set_export_config({"cache_support": True})
    return model.eval()


def record(name: str) -> None:
    """Writes one file."""
    from nemo_rebuilt import calls

    model = build(name)
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "m.nemo"
        model.save_to(str(path))
        with tarfile.open(path) as archive:
            member = next(one for one in archive.getmembers() if one.name.endswith("model_config.yaml"))
            content = archive.extractfile(member)
            config = content.read().decode() if content else ""
    state = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in model.state_dict().items()}
    answers = {}
    for call in calls(name):
        for output, value in zoo.eager(model, call.part, call.inputs).items():
            answers[f"{call.part}.{call.seed}.{output}"] = value.numpy()
    arrays: dict[str, Any] = {"config": np.array(config), "weights": np.array(json.dumps(state)), **answers}
    np.savez_compressed(FOLDER / f"{name}.npz", **arrays)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for one in sys.argv[1:] or [one for one in VARIANTS if not (FOLDER / f"{one}.npz").exists()]:
        record(one)
        print(one)
