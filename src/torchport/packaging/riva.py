"""Riva, experimental: an ONNX artifact in the archive that Riva's builder reads, as far as its layout is public; never encrypted."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from torchport.errors import ArchiveError, OptionError, PackageError
from torchport.packaging._base import Target
from torchport.packaging._records import Order, Part
from torchport.packaging._riva_archive import read_riva, write_riva

__all__ = ["RivaTarget"]

_SUFFIX = ".experimental.riva"
_GRAPH = "model_graph.onnx"
_CONFIG = "model_config.yaml"
_MOST = 256 * 2**20
_WEIGHTS = (".ckpt", ".pt", ".ts", ".distcp", ".safetensors")
_NOTE = (
    "experimental: the layout is what public sources show of archives that Riva's builder reads; no builder was at hand to try it with. "
    "The archive is not encrypted"
)


class RivaTarget(Target):
    """A folder with one archive: manifest, graph, and what a checkpoint archive holds beside its weights."""

    name: ClassVar[str] = "riva"
    formats: ClassVar[Sequence[str]] = ("onnx",)
    options: ClassVar[Mapping[str, str]] = {
        "archive": "the .nemo archive that the model comes from: its config, vocabulary and tokenizer go along",
        "obj_cls": "the model's class as Riva's builder knows it; else the archive's, else the artifact's",
        "description": "what the model is, in words",
    }

    def is_ours(self, directory: Path) -> bool:
        """A folder with one archive in it that can be read, and nothing else."""
        inside = list(directory.iterdir())
        if len(inside) != 1 or not inside[0].name.endswith(_SUFFIX) or not inside[0].is_file():
            return False
        try:
            read_riva(inside[0])
        except ArchiveError:
            return False
        return True

    def _write(self, parts: Sequence[Part], stage: Path, order: Order) -> Sequence[str]:
        if len(parts) != 1 or parts[0].artifact.format != "onnx":
            raise PackageError(
                "only one ONNX graph can be put into an archive for Riva: how others are laid out is not public",
                found=", ".join(part.artifact.path.name for part in parts),
                hint="package the parts one by one",
            )
        [part] = parts
        taken = _beside_weights(order.options.get("archive"))
        runtime = {"onnx": True, "onnx_archive_format": 1, "runtime": "ONNX"}
        metadata = {
            "description": order.options.get("description", "A model exported by torchport"),
            "format_version": 3,
            "has_pytorch_checkpoint": False,
            "min_nemo_version": "1.3",
            "obj_cls": order.options.get("obj_cls") or _class_of(taken) or part.model or "",
            **order.metadata,
            **runtime,
        }
        files: dict[str, tuple[Path | bytes, Mapping[str, Any]]] = {
            name: (content, _said("", conf_path=name, path_type="TAR_PATH")) for name, content in taken.items()
        }
        with tempfile.TemporaryDirectory(dir=stage.parent) as folder:
            copies = self.copy_artifact(part, Path(folder))
            graph = copies[0] if len(copies) == 1 else _inner_tar(copies, Path(folder) / f"{_GRAPH}.tar")
            files[_GRAPH] = (graph, _said("The exported graph", **runtime))
            out = stage / f"{part.artifact.path.stem}{_SUFFIX}"
            write_riva(out, metadata, files)
            back = Path(folder) / "back"
            back.mkdir()
            read = read_riva(out, back)
            if _digest(read.extracted[_GRAPH]) != _digest(graph) or read.files.keys() != files.keys():
                raise PackageError("the archive does not hold what was put into it", where=out.name)
        notes = [*part.notes, _NOTE]
        if _CONFIG not in files:
            notes.append(f"the archive holds no {_CONFIG}, which Riva's builder asks for: give archive=model.nemo")
        return notes


def _said(description: str, **more: Any) -> dict[str, Any]:
    return {
        "artifact_type": "File",
        "content_callback": "BinaryContentCallback",
        "description": description,
        "encryption": False,
        **more,
    }


def _beside_weights(archive: str | None) -> dict[str, bytes]:
    """The small files of a checkpoint archive, by their plain names."""
    if archive is None:
        return {}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                name = Path(member.name).name
                if not member.isreg() or name.endswith(_WEIGHTS):
                    continue
                if member.size + sum(map(len, found.values())) > _MOST:
                    raise OptionError("the archive holds too much beside its weights", stage="package", where=archive, found=name)
                reader = tar.extractfile(member)
                if reader is None or name in found or name == _GRAPH or not name.isprintable():
                    raise OptionError("two files of the archive have one name, or none", stage="package", where=archive, found=member.name)
                found[name] = reader.read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise OptionError("the archive cannot be read", stage="package", where=f"archive={archive}", found=str(error)[:200]) from error
    return found


def _class_of(files: Mapping[str, bytes]) -> str:
    try:
        config = yaml.safe_load(files.get(_CONFIG, b""))
    except (yaml.YAMLError, RecursionError, UnicodeError, ValueError):
        return ""
    target = config.get("target", "") if isinstance(config, dict) else ""
    return target if isinstance(target, str) else ""


def _inner_tar(files: Sequence[Path], out: Path) -> Path:
    """A graph and the file with its weights as one: archives hold one file a graph."""
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in files:
            header = tarfile.TarInfo(path.name)
            header.size, header.mode = path.stat().st_size, 0o644
            with path.open("rb") as source:
                tar.addfile(header, source)
    return out


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
