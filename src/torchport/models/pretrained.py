"""Where ``from_pretrained`` finds a model: a file, a class's own list, a Hugging Face repository, or the class itself."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torchport import _optional
from torchport.errors import ArchiveError, MissingDependencyError, TorchportError, UnknownModelError
from torchport.models import _zoo
from torchport.models._download import fetch
from torchport.models._places import as_device

if TYPE_CHECKING:
    from torchport.models.model_pt import ModelPT

__all__ = ["PretrainedModelInfo", "check_sha256", "package_file", "restore_pretrained"]

M = TypeVar("M", bound="ModelPT")

_REPOSITORY = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>[\w./-]+\.nemo))?")


@dataclass(frozen=True)
class PretrainedModelInfo:
    """One pretrained model of a class's list.

    Attributes:
        pretrained_model_name: What ``from_pretrained`` takes.
        description: One sentence: language, size, what it was trained on.
        location: ``https://…`` or ``file://…`` of a ``.nemo`` file, ``hf://org/name``; ``builtin:…`` or ``package:…`` where the class
            builds it.
        sha256: The file's digest, in hex; required for ``https`` and ``file``.
    """

    pretrained_model_name: str
    description: str = ""
    location: str = ""
    sha256: str = ""


def restore_pretrained(cls: type[M], name: str, **restore: Any) -> M:
    """What ``ModelPT.from_pretrained`` does; ``restore`` reaches ``restore_from``.

    Raises:
        UnknownModelError: There is no such model.
    """
    name = str(name)
    if _is_path(name):
        name = str(Path(name).expanduser())
        if not Path(name).is_file():
            raise UnknownModelError("there is no such file", found=name, expected="a .nemo file, or the name of a pretrained model")
        return cls.restore_from(name, **restore)
    for owner, info in _listed(cls):
        if info.pretrained_model_name == name:
            return _from_info(owner, info, restore)
    family = _zoo.family_of_pretrained(name)
    if family is not None:
        found = family.load()
        if not issubclass(found, cls):
            raise UnknownModelError(f"{name!r} is another model", where=cls.__name__, found=found.__name__, expected=f"a {cls.__name__}")
        for info in found.list_available_models():
            if info.pretrained_model_name == name:
                return _from_info(found, info, restore)
    if name.startswith("hf://") or (_REPOSITORY.fullmatch(name) and "://" not in name):
        return cls.restore_from(_from_hub(name.removeprefix("hf://")), **restore)
    raise _unknown(cls, name)


def check_sha256(path: Path, expected: str) -> None:
    """Compares a file's digest.

    Raises:
        ArchiveError: It is another one.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise ArchiveError(
            "the file is not the one that was listed: its sha256 differs", where=str(path), found=found, expected=expected.lower()
        )


def package_file(package: str, relative: str, *, sha256: str, purpose: str) -> Path:
    """Finds a file inside an installed package without importing the package, and checks it.

    Args:
        package: The distribution's name (``"resemblyzer"``).
        relative: The file's path inside it (``"resemblyzer/pretrained.pt"``).
        sha256: Its digest, in hex.
        purpose: What it is needed for, as the end of "needed to …".

    Raises:
        MissingDependencyError: The package, or the file in it, is not installed.
        ArchiveError: The digest is another one.
    """
    hint = f"pip install --no-deps {package}"
    try:
        path = Path(str(distribution(package).locate_file(relative)))
    except PackageNotFoundError as error:
        raise MissingDependencyError(f"the package {package!r} is needed to {purpose}", found="it is not installed", hint=hint) from error
    if not path.is_file():
        raise MissingDependencyError(f"the package {package!r} is needed to {purpose}", found=f"it has no {relative}", hint=hint)
    check_sha256(path, sha256)
    return path


def _is_path(name: str) -> bool:
    return "://" not in name and (name.endswith(".nemo") or name.startswith(("/", "./", "../", "~")) or Path(name).is_file())


def _listed(cls: type[M]) -> Iterator[tuple[type[M], PretrainedModelInfo]]:
    """The class's own list, then those of its subclasses that are imported already."""
    from torchport.models.model_pt import ModelPT

    if cls is not ModelPT:
        for info in cls.list_available_models():
            yield cls, info
    for child in cls.__subclasses__():
        yield from _listed(child)


def _from_info(cls: type[M], info: PretrainedModelInfo, restore: dict[str, Any]) -> M:
    location = info.location
    if location.startswith(("builtin:", "package:")):
        device = as_device(restore.get("map_location"))
        model = cls.build_pretrained(info)
        return model if device is None else model.to(device)
    if location.startswith("hf://"):
        path = _from_hub(location.removeprefix("hf://"))
        if info.sha256:
            check_sha256(path, info.sha256)
    else:
        path = fetch(location, info.sha256, where=info.pretrained_model_name)
    return cls.restore_from(path, **restore)


def _from_hub(name: str) -> Path:
    match = _REPOSITORY.fullmatch(name)
    if match is None:
        raise UnknownModelError(
            "the name is not a Hugging Face repository", found=name, expected="org/name, org/name@revision or org/name/file.nemo"
        )
    repo, revision, file = match["repo"], match["revision"], match["file"]
    hub = _optional.require("huggingface_hub", extra="hub", purpose=f"fetch {repo} from Hugging Face")
    errors = _optional.require("huggingface_hub.errors", extra="hub", purpose=f"fetch {repo} from Hugging Face")
    try:
        try:
            return Path(hub.hf_hub_download(repo_id=repo, filename=file or f"{repo.split('/')[1]}.nemo", revision=revision))
        except errors.EntryNotFoundError:
            if file is not None:
                raise
        files = [entry for entry in hub.HfApi().list_repo_files(repo, revision=revision) if entry.endswith(".nemo")]
        if len(files) != 1:
            raise UnknownModelError(
                "the repository does not hold exactly one .nemo file",
                where=repo,
                found=", ".join(files) or "none",
                hint="name the file: hf://org/name/file.nemo" if files else None,
            )
        return Path(hub.hf_hub_download(repo_id=repo, filename=files[0], revision=revision))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise UnknownModelError(
            "Hugging Face has no such model", where=name, found=str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        ) from error
    except TorchportError:
        raise
    except Exception as error:
        raise TorchportError(
            "the model could not be fetched from Hugging Face", stage="load", where=name, found=f"{type(error).__name__}: {error}"[:300]
        ) from error


def _unknown(cls: type[M], name: str) -> UnknownModelError:
    from torchport.models.model_pt import ModelPT

    names = {info.pretrained_model_name for _, info in _listed(cls)}
    if cls is ModelPT:
        names.update(known for family in _zoo.families.values() for known in family.pretrained)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "the path of a .nemo file and a Hugging Face repository (org/name) work too"
    return UnknownModelError(
        f"there is no pretrained model {name!r}", found=name, expected=", ".join(sorted(names)) or "(this class lists none)", hint=hint
    )
