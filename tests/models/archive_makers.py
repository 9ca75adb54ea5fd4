"""Makes archives, good ones and hostile ones, for the tests of the checkpoint side."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from torchport.models import ModelPT

SIZES = {"width": 4, "tags": 3}


class ArchiveTagger(ModelPT):
    """A tiny real model: one linear layer, one normalisation, and a vocabulary if the config names one."""

    def __init__(self, cfg: Any, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.scores = torch.nn.Linear(self.cfg.width, self.cfg.tags)
        self.norm = torch.nn.BatchNorm1d(self.cfg.tags)
        self.vocabulary = self.register_artifact("tokenizer.vocabulary", self.cfg.get("tokenizer", {}).get("vocabulary"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.scores(x))


class OtherTagger(ModelPT):
    """Another class, to be confused with the first."""


TARGET = f"{ArchiveTagger.__module__}.ArchiveTagger"


def file(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member; ``fields`` are set on its header (``type=tarfile.SYMTYPE``, ``linkname=…``, a ``size`` that lies)."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar_bytes(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.GNU_FORMAT, end: bool = True) -> bytes:
    """The members as they are told, without the care that tarfile takes."""
    out = io.BytesIO()
    for info, content in members:
        out.write(info.tobuf(format))
        out.write(content + bytes(-len(content) % 512))
    if end:
        out.write(bytes(1024))
    return out.getvalue()


def weights_bytes(state: Mapping[str, Any] | None = None) -> bytes:
    """Weights as ``torch.save`` writes them; by default those of an ``ArchiveTagger``."""
    out = io.BytesIO()
    torch.save(dict(state) if state is not None else ArchiveTagger(SIZES).state_dict(), out)
    return out.getvalue()


def config_bytes(**fields: Any) -> bytes:
    """A config that builds an ``ArchiveTagger``; a field that is ``None`` is left out."""
    config = {**SIZES, "target": TARGET, **fields}
    return yaml.safe_dump({key: value for key, value in config.items() if value is not None}).encode()


def archive(
    path: Path,
    *extra: tuple[tarfile.TarInfo, bytes],
    config: bytes | None = None,
    weights: bytes | None = None,
    prefix: str = "./",
    compress: bool = False,
    first: tuple[tuple[tarfile.TarInfo, bytes], ...] = (),
) -> Path:
    """Writes an archive that is good but for what the test puts in."""
    data = tar_bytes(
        *first,
        file(f"{prefix}model_config.yaml", config if config is not None else config_bytes()),
        file(f"{prefix}model_weights.ckpt", weights if weights is not None else weights_bytes()),
        *extra,
    )
    path.write_bytes(gzip.compress(data, 1) if compress else data)
    return path


def checkpoint_with(pickled: bytes, **records: bytes) -> bytes:
    """A torch checkpoint's zip around any pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as container:
        container.writestr("archive/data.pkl", pickled)
        for name, content in records.items():
            container.writestr(f"archive/{name}", content)
        container.writestr("archive/version", b"3\n")
    return out.getvalue()


def rewritten(checkpoint: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A checkpoint whose pickle is changed and whose records stay."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for record in old.infolist():
            content = old.read(record)
            new.writestr(record.filename, change(content) if record.filename.endswith("data.pkl") else content)
    return out.getvalue()


class Calls:
    """Pickles to a call of ``function(*arguments)``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def calling(function: Callable[..., Any], *arguments: Any, protocol: int = 2) -> bytes:
    """A checkpoint that calls ``function`` when it is unpickled."""
    return checkpoint_with(pickle.dumps({"scores.weight": Calls(function, *arguments)}, protocol=protocol))
