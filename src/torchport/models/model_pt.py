"""``ModelPT``: a module with a config, that is saved to and restored from one file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from torchport.errors import ArchiveError, OptionError, TorchportError
from torchport.models import _zoo
from torchport.models._artifacts import Artifacts, restoring_from
from torchport.models._config import Config, as_config, replace_leaf
from torchport.models._places import as_device
from torchport.models._trust import Trust, class_path, resolve_class
from torchport.models._weights import check_fit, copy_into
from torchport.models.archive import Limits, open_archive, read_archive_config, write_archive
from torchport.models.pretrained import PretrainedModelInfo, restore_pretrained

__all__ = ["ModelPT"]

M = TypeVar("M", bound="ModelPT")

_SECTIONS = {"model", "name", "trainer", "exp_manager", "hydra", "pretrained_model", "init_from_nemo_model", "init_from_pretrained_model"}
"""What an experiment's config may hold beside ``model``."""


class ModelPT(torch.nn.Module):
    """A ``torch.nn.Module`` with a config.

    A subclass builds itself from ``self.cfg`` and works with ``Exportable``.

    Args:
        cfg: A mapping, an OmegaConf config, a dataclass, or the path of a YAML file.
        trainer: Kept as ``self.trainer``, for models that train under a trainer.

    Example:
        >>> class Tagger(ModelPT):
        ...     def __init__(self, cfg, trainer=None):
        ...         super().__init__(cfg, trainer)
        ...         self.scores = torch.nn.Linear(self.cfg.width, self.cfg.tags)
        >>> Tagger({"width": 8, "tags": 3}).cfg.tags
        3
    """

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__()
        config = as_config(cfg)
        config["target"] = class_path(type(self))
        self._cfg = config
        self._artifacts = Artifacts()
        self._submodels: dict[str, str] = {}
        self.trainer = trainer

    @property
    def cfg(self) -> Config:
        """The config; keys are attributes too."""
        return self._cfg

    @cfg.setter
    def cfg(self, value: object) -> None:
        self._cfg = as_config(value)
        self._cfg["target"] = class_path(type(self))

    @property
    def num_weights(self) -> int:
        """How many numbers the trained parameters hold."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    # --- configs -------------------------------------------------------------------------------------------------------------------

    @classmethod
    def from_config(cls: type[M], cfg: object, trainer: Any = None, *, trust: Trust = ()) -> M:
        """Builds a model from a config, with fresh weights.

        Args:
            cfg: As the constructor takes it. On a base class, its ``target`` names the class.
            trainer: Passed on to the constructor.
            trust: Classes beside the registered ones that ``target`` may name.

        Raises:
            UntrustedClassError: ``target`` names a class that is neither registered, nor imported as a subclass, nor trusted.
            OptionError: The class cannot be built from the config.
        """
        config = _model_section(as_config(cfg))
        found: type[M] = resolve_class(config.get("target"), cls, trust, where="config")  # type: ignore[assignment]  # a subclass of cls
        return _built(found, config, trainer, "config", OptionError)

    @classmethod
    def from_config_dict(cls: type[M], config: object, trainer: Any = None, *, trust: Trust = ()) -> M:
        """The same as ``from_config``, under the name that NeMo's callers use."""
        return cls.from_config(config, trainer, trust=trust)

    # --- artifacts -----------------------------------------------------------------------------------------------------------------

    def register_artifact(self, config_path: str, src: str | os.PathLike[str] | None, verify_src_exists: bool = True) -> str | None:
        """Makes a file part of the model: it is packed into the archive, and found again when that is restored. For constructors.

        Args:
            config_path: Where the config points to it (``"tokenizer.vocabulary"``).
            src: A path on this machine, or ``nemo:<name>`` while restoring. ``None`` and ``""`` do nothing.
            verify_src_exists: ``False``: a file that is not there gives ``None``.

        Returns:
            A path that can be opened as long as the model is there.

        Raises:
            ArchiveError: The archive being restored has no such file.
            OptionError: There is no such file on this machine.
        """
        if src is None or src == "":
            return None if src is None else ""
        return self._artifacts.register(config_path, os.fspath(src), required=verify_src_exists)

    @classmethod
    def config_from_archive(cls, config: Config, state: Mapping[str, Any]) -> Config:
        """The config that a model is built from: the archive's, unless a class reads off the weights what it leaves open.

        Args:
            config: The archive's config, or the caller's instead of it.
            state: The archive's state dict.
        """
        return config

    def weights_from_archive(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Which of an archive's weights are this model's: all of them, unless a class that knows better leaves some out.

        Args:
            state: The archive's state dict.
        """
        return dict(state)

    def register_nemo_submodule(self, name: str, config_field: str, model: ModelPT) -> None:
        """Adds a whole model as the submodule ``name``; its config, artifacts included, is saved under ``config_field`` of this one's.

        When the archive is restored, the constructor finds that config there and builds the submodule from it.

        Raises:
            OptionError: It is not a ``ModelPT``.
        """
        if not isinstance(model, ModelPT):
            raise OptionError("a submodule with a config has to be a ModelPT", stage="load", where=name, found=type(model).__name__)
        self.add_module(name, model)
        self._submodels[name] = config_field

    # --- one file ------------------------------------------------------------------------------------------------------------------

    def save_to(self, path: str | os.PathLike[str]) -> Path:
        """Saves config, weights and artifacts to one file; the same model gives the same bytes.

        An existing file is replaced, in one step and only once the new one is whole; a folder that is not there is made.

        Args:
            path: The file, taken as it is. Let its name end in ``.nemo``: the command line and ``from_pretrained`` know it by that.

        Returns:
            The file's absolute path.

        Raises:
            OptionError: Something in the config or among the weights cannot be saved.
        """
        config, files = self._packed()
        return write_archive(path, config, self.state_dict(), files)

    def _packed(self) -> tuple[dict[str, Any], dict[str, Path]]:
        """The config as it is saved, and the files that it points to."""
        config = self._cfg.to_dict()
        files: dict[str, Path] = {}
        for name, field in self._submodels.items():
            child = self.get_submodule(name)
            assert isinstance(child, ModelPT)  # register_nemo_submodule saw to it
            inner, inner_files = child._packed()
            replace_leaf(config, field, inner)
            files.update(inner_files)
        for name, child in self.named_modules():
            if isinstance(child, ModelPT) and child is not self and len(child._artifacts) and name.split(".")[0] not in self._submodels:
                raise OptionError(
                    "a submodule has artifacts that the archive would lose",
                    stage="load",
                    where=name,
                    found=type(child).__name__,
                    hint="add it with register_nemo_submodule(name, config_field, model)",
                )
        return config, {**files, **self._artifacts.packed(config, files)}

    @classmethod
    def restore_from(
        cls: type[M],
        restore_path: str | os.PathLike[str],
        override_config_path: object = None,
        map_location: str | torch.device | None = "cpu",
        strict: bool = True,
        return_config: bool = False,
        trainer: Any = None,
        *,
        trust: Trust = (),
        limits: Limits | None = None,
    ) -> M:
        """Restores a model from the file that ``save_to``, or NeMo, wrote. The file is treated as hostile.

        Args:
            restore_path: The ``.nemo`` file.
            override_config_path: A config, in any form that the constructor takes, instead of the one in the file.
            map_location: The device to put the model on; ``None`` leaves it where its constructor put it.
            strict: Weights and model must have the same names. ``False`` loads those that both have and warns of the rest; tensors of other
                shapes are refused either way, as in PyTorch.
            return_config: Give only the config; no class is imported and no weights are read.
            trainer: Passed on to the constructor.
            trust: Classes that the file may name beside the registered ones: dotted paths, or the classes themselves.
            limits: Caps other than the default ones.

        Raises:
            ArchiveError: The file is broken, hostile, or does not fit the model.
            UntrustedClassError: It names a class that nobody vouched for; the class was not imported.
            OptionError: ``restore_path`` is no path, or ``map_location`` no device that is here.
        """
        device = as_device(map_location)
        override = _model_section(as_config(override_config_path)) if override_config_path is not None else None
        if return_config:
            return override if override is not None else _model_section(read_archive_config(restore_path, limits))  # type: ignore[return-value]
        with open_archive(restore_path, limits) as archive:
            config = override if override is not None else _model_section(archive.config)
            where = str(archive.source)
            target = config.get("target") if override is None else config.get("target", archive.config.get("target"))
            found: type[M] = resolve_class(target, cls, trust, where=where)  # type: ignore[assignment]  # a subclass of cls
            state = archive.weights()
            config = found.config_from_archive(config, state)
            with restoring_from(archive, vouched=override is not None):
                _check_before_memory_is_taken(found, config, state, strict, where)
                model = _built(found, config, trainer, where)
            if device is not None:
                model = model.to(device)
            left_out = copy_into(model, model.weights_from_archive(state), strict=strict, where=where)
            del state  # it is mapped to a file that goes now
        if left_out:
            warnings.warn(f"{where} was restored in part: {'; '.join(left_out)}", stacklevel=2)
        return model

    # --- pretrained ----------------------------------------------------------------------------------------------------------------

    @classmethod
    def list_available_models(cls) -> list[PretrainedModelInfo]:
        """The pretrained models of this class. On ``ModelPT`` itself: those of every registered family."""
        if cls is not ModelPT:
            return []
        return [info for family in _zoo.families.values() if family.pretrained for info in family.load().list_available_models()]

    @classmethod
    def from_pretrained(
        cls: type[M],
        model_name: str,
        map_location: str | torch.device | None = "cpu",
        strict: bool = True,
        trainer: Any = None,
        *,
        trust: Trust = (),
    ) -> M:
        """Gives a pretrained model.

        Args:
            model_name: A name from ``list_available_models()``, the path of a ``.nemo`` file, or a Hugging Face repository (``"org/name"``,
                ``"hf://org/name@revision"``).
            map_location: The device to put the model on.
            strict: As for ``restore_from``.
            trainer: Passed on to the constructor.
            trust: As for ``restore_from``.

        Raises:
            UnknownModelError: There is no such model; the message lists those there are.
            ArchiveError: What was fetched is not what the list promises.
        """
        return restore_pretrained(cls, model_name, map_location=map_location, strict=strict, trainer=trainer, trust=trust)

    @classmethod
    def build_pretrained(cls: type[M], info: PretrainedModelInfo) -> M:
        """Builds a listed model whose location is ``builtin:…`` or ``package:…``: a hook for classes that build themselves.

        ``torchport.models.pretrained.package_file`` finds and checks a file inside an installed package.
        """
        raise OptionError(
            "the class lists a model that it cannot build",
            stage="load",
            where=class_path(cls),
            found=info.location,
            expected="a build_pretrained() of its own",
        )


def _check_before_memory_is_taken(cls: type[ModelPT], config: Config, state: dict[str, Any], strict: bool, where: str) -> None:
    """A small hostile file may ask for a huge model: registered families are built without memory first, and held against the weights.

    Raises:
        ArchiveError: The weights are those of another model.
    """
    if f"{cls.__module__}:{cls.__qualname__}" not in {family.path for family in _zoo.families.values()}:
        return  # a class that the caller vouched for may do anything when it is built: it is built once
    with torch.device("meta"):
        model = _built(cls, config, None, where)
    check_fit(model, model.weights_from_archive(state), strict=strict, where=where)


def _built(cls: type[M], config: Config, trainer: Any, where: str, refusal: type[TorchportError] = ArchiveError) -> M:
    try:
        return cls(config, trainer=trainer) if trainer is not None else cls(config)
    except TorchportError:
        raise
    except Exception as error:
        raise refusal(
            f"{cls.__name__} cannot be built from the config",
            stage="load",
            where=where,
            found=f"{type(error).__name__}: {error}"[:500],
        ) from error


def _model_section(config: Config) -> Config:
    """The model's part of an experiment's config; a model's own config stays as it is."""
    inner = config.get("model")
    if isinstance(inner, Mapping) and set(config) <= _SECTIONS:
        return Config(inner)
    return config
