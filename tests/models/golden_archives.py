"""Archives as NeMo writes them, made from what was recorded of NeMo's eager models, and the answers that these gave."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from nemo_seeded import seeded_weights

from torchport.models import ModelPT
from torchport.models.archive import write_archive

FOLDER = Path(__file__).parent.parent / "data" / "nemo"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))


@cache
def recorded(name: str) -> dict[str, np.ndarray]:
    """Everything that was recorded of one model."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def config(name: str) -> dict[str, Any]:
    """The config in NeMo's archive."""
    return yaml.safe_load(str(recorded(name)["config"]))


def weights(name: str) -> dict[str, torch.Tensor]:
    """The weights in NeMo's archive: made of their names, as they were when it was recorded; of a discriminator's the small ones only."""
    listed = json.loads(str(recorded(name)["weights"]))
    listed = {key: value for key, value in listed.items() if not key.startswith(("mpd.", "msd.")) or np.prod(value[0]) < 10_000}
    return seeded_weights({key: torch.empty(shape, dtype=getattr(torch, dtype)) for key, (shape, dtype) in listed.items()})


def answers(name: str, part: str, seed: int) -> dict[str, np.ndarray]:
    """What NeMo's eager model answered, by output, in its order."""
    start = f"{part}.{seed}."
    return {key.removeprefix(start): value for key, value in recorded(name).items() if key.startswith(start)}


def archive(folder: Path, name: str, **changes: Any) -> Path:
    """Writes the archive; ``changes`` replace sections of the config, or options of them (``encoder={"reduction": "striding"}``)."""
    made = config(name)
    for section, value in changes.items():
        made[section] = {**made[section], **value} if isinstance(made.get(section), dict) and isinstance(value, dict) else value
    return write_archive(folder / f"{name}.nemo", made, weights(name), {})


def restored(folder: Path, name: str) -> ModelPT:
    """The rebuilt model."""
    return ModelPT.restore_from(archive(folder, name)).eval()
