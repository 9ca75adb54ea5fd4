"""SOURCE on the command line, made a module: a built-in name, ``package.module:Class``, ``file.py:Class``, a ``.nemo`` archive."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torchport._frames import last_line
from torchport._own_words import own_words_only
from torchport.errors import ArchiveError, OptionError, TorchportError, UnknownModelError, UnsupportedOptionError

if TYPE_CHECKING:
    import torch

    from torchport.models._config import Config

__all__ = ["Source"]

_SEEDS = (-(2**63), 2**64 - 1)
"""What `torch.manual_seed` takes."""

_FORMS = "a name from `torchport models`, package.module:Class, file.py:Class, or an archive.nemo"


@dataclass(frozen=True)
class Source:
    """A model, as the command line names it.

    Args:
        text: SOURCE.
        config: A YAML file with the model's config; for a plain class or function, its keywords.
        weights: A checkpoint with weights, and nothing else.
        trust: Classes that an archive may name beside the registered ones.
        seed: Random weights start here, so that the next command makes the same. ``None``: at the class's own start, else at 0.
    """

    text: str
    config: Path | None = None
    weights: Path | None = None
    trust: tuple[str, ...] = ()
    seed: int | None = None

    def build(self) -> torch.nn.Module:
        """Imports or restores the model.

        Raises:
            OptionError: SOURCE is none of the forms, or the code that it names fails.
            TorchportError: The archive, the config or the weights cannot be used.
        """
        import torch

        for path, what in ((self.config, "--config"), (self.weights, "--weights")):
            if path is not None and not path.is_file():
                raise OptionError("there is no such file", where=what, found=str(path))
        if self.seed is not None and not _SEEDS[0] <= self.seed <= _SEEDS[1]:
            raise OptionError("there is no such seed", where="--seed", found=self.seed, expected=f"{_SEEDS[0]} to {_SEEDS[1]}")
        with torch.random.fork_rng(devices=[]), own_words_only():
            torch.manual_seed(self.seed or 0)
            module = self._made()
        if self.weights is not None:
            self._load_weights(module, self.weights)
        return module

    def _made(self) -> torch.nn.Module:
        if self.text.lower().endswith(".nemo"):
            return self._restored()
        if ":" in self.text and "://" not in self.text:
            where, _, name = self.text.rpartition(":")
            return self._from_code(where, name)
        if self.text.endswith(".py"):
            candidates = _modules_in(_imported_file(Path(self.text)))
            found = ", ".join(candidates) or "no torch.nn.Module"
            raise OptionError("SOURCE does not say which class of the file", where=self.text, found=found, expected="file.py:Class")
        return self._known()

    def _restored(self) -> torch.nn.Module:
        from torchport.integrations.nemo.archive import has_nemo, is_nemo_archive, restore_nemo_archive
        from torchport.models import ModelPT

        if not Path(self.text).is_file():
            raise OptionError("there is no such archive", stage="load", where="SOURCE", found=self.text)
        self._refuse_seed("an archive has")
        if not self.trust and is_nemo_archive(self.text):
            return restore_nemo_archive(self.text, self.config)
        try:
            return ModelPT.restore_from(self.text, override_config_path=self.config, trust=self.trust)
        except UnsupportedOptionError as error:
            if not has_nemo():
                raise
            print(f"torchport: {error.message}; NeMo is installed and builds the model", file=sys.stderr)  # noqa: T201 - the command line
        return restore_nemo_archive(self.text, self.config)

    def _known(self) -> torch.nn.Module:
        from torchport.models import ModelPT, families

        if self.text in families:
            return self._instance(families[self.text].load())
        if self.config is not None:
            raise OptionError(
                "a pretrained model has its own config", where="--config", found=self.text, expected=f"a family: {', '.join(families)}"
            )
        try:
            model = ModelPT.from_pretrained(self.text, trust=self.trust)
        except UnknownModelError as error:
            known = [*families, *(info.pretrained_model_name for info in ModelPT.list_available_models())]
            near = difflib.get_close_matches(self.text, known, n=1)
            raise OptionError(
                f"SOURCE {self.text!r} names no model",
                stage="load",
                found=self.text,
                expected=_FORMS,
                hint=f"did you mean {near[0]!r}?" if near else f"the names are {', '.join(known)}",
            ) from error
        self._refuse_seed("a pretrained model has")
        return model

    def _refuse_seed(self, what: str) -> None:
        if self.seed is not None:
            raise OptionError(f"{what} weights of its own", where="--seed", found=self.seed, hint="leave --seed out, or name a class")

    def _from_code(self, where: str, name: str) -> torch.nn.Module:
        module = _imported_file(Path(where)) if where.endswith(".py") or os.sep in where else _imported_module(where)
        found: Any = module
        for part in name.split("."):
            if not hasattr(found, part):
                candidates = _modules_in(module)
                near = difflib.get_close_matches(name, candidates, n=1)
                raise OptionError(
                    f"SOURCE names what {where} does not have",
                    stage="load",
                    found=name or "nothing after the colon",
                    expected=", ".join(candidates) or "a torch.nn.Module",
                    hint=f"did you mean {near[0]!r}?" if near else None,
                )
            found = getattr(found, part)
        return self._instance(found)

    def _instance(self, found: Any) -> torch.nn.Module:
        """The module that a class, a function or an instance stands for."""
        import torch

        from torchport.models import ModelPT

        made = found
        if not isinstance(found, torch.nn.Module):
            if not callable(found) or (isinstance(found, type) and not issubclass(found, torch.nn.Module)):
                raise OptionError(
                    "SOURCE names something that is no model",
                    stage="load",
                    where=self.text,
                    found=f"{type(found).__name__}: {found!r}"[:200],
                    expected="a torch.nn.Module class, a function that returns a module, or a module",
                )
            of_ours = isinstance(found, type) and issubclass(found, ModelPT)
            config = self._seeded(found) if of_ours else self.config
            if of_ours and config is not None:
                made = _called(found, self.text, lambda: found.from_config(config, trust=self.trust))
            else:
                keywords = _keywords(self.config) if self.config is not None else {}
                made = _called(found, self.text, lambda: found(**keywords))
        elif self.config is not None:
            raise OptionError("a module that is made already takes no config", where="--config", found=self.text)
        if not isinstance(made, torch.nn.Module):
            raise OptionError(
                "the function that SOURCE names returns no model",
                stage="load",
                where=self.text,
                found=type(made).__name__,
                expected="a torch.nn.Module",
            )
        return made

    def _seeded(self, found: type) -> Path | Config | None:
        """The config; of a family that seeds itself, with the seed in its place."""
        from torchport.models._config import as_config
        from torchport.models._trust import class_path
        from torchport.models._zoo import family_of_target

        family = family_of_target(class_path(found))
        if self.seed is None or family is None or not family.seed:
            return self.config
        config = as_config(self.config)
        inner = config["model"] if isinstance(config.get("model"), Mapping) else config
        inner[family.seed] = self.seed
        return config

    def _load_weights(self, module: torch.nn.Module, path: Path) -> None:
        from torchport.models._weights import copy_into, read_weights

        if path.suffix.lower() == ".safetensors":
            from torchport._optional import require

            reader = require("safetensors.torch", extra="safetensors", purpose="read .safetensors files")
            try:
                state = reader.load_file(path)
            except Exception as error:
                raise ArchiveError(
                    "the weights cannot be read", where=str(path), found=str(error), expected="a .safetensors file"
                ) from error
        else:
            state = read_weights(path, where=str(path))
        copy_into(module, state, strict=True, where=str(path))


def _keywords(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError("the config cannot be read", where="--config", found=f"{path}: {error}"[:300], expected="YAML") from error
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise OptionError("the config holds no keywords", where="--config", found=f"{path}: {type(found).__name__}", expected="key: value")
    return dict(found)


def _called(subject: Any, text: str, make: Callable[[], Any]) -> Any:
    """Calls code of the user; what it raises is an error of SOURCE."""
    try:
        return make()
    except TorchportError:
        raise
    except Exception as error:
        name = getattr(subject, "__qualname__", repr(subject))
        raise OptionError(
            f"{name} could not be made: {type(error).__name__}: {error}",
            stage="load",
            where=last_line(error) or text,
            expected=_taken(subject) if isinstance(error, TypeError) else None,
            hint="give it defaults, or name a function that makes it (file.py:make_model), or pass --config file.yaml",
        ) from error


def _taken(subject: Any) -> str | None:
    try:
        return f"{getattr(subject, '__name__', 'it')}{inspect.signature(subject)}"
    except (TypeError, ValueError):
        return None


def _modules_in(module: ModuleType) -> list[str]:
    """The classes and instances of models that a Python module itself makes."""
    import torch

    def is_model(value: object) -> bool:
        own = isinstance(value, type) and issubclass(value, torch.nn.Module) and value.__module__ == module.__name__
        return own or isinstance(value, torch.nn.Module)

    return [name for name, value in vars(module).items() if not name.startswith("_") and is_model(value)]


def _imported_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise OptionError("there is no such file", stage="load", where="SOURCE", found=str(path), expected=_FORMS)
    path = path.resolve()
    # The name goes into the artifact: it must not change from run to run, nor hide a module that is imported already.
    taken = path.stem in sys.modules and getattr(sys.modules[path.stem], "__file__", None) != str(path)
    name = f"{path.stem}_source" if taken or not path.stem.isidentifier() else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise OptionError("SOURCE is not a Python file", stage="load", where=str(path), expected=_FORMS)
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    _importable(str(path.parent))
    sys.modules[name] = module
    try:
        _imported(str(path), lambda: loader.exec_module(module))
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _imported_module(name: str) -> ModuleType:
    _importable(str(Path.cwd()))
    if not all(part.isidentifier() for part in name.split(".")):
        raise OptionError("SOURCE names no Python module", stage="load", found=name, expected=_FORMS)
    found: list[ModuleType] = []
    _imported(name, lambda: found.append(importlib.import_module(name)))
    return found[0]


def _importable(folder: str) -> None:
    """Puts the folder where ``python`` itself would have put it."""
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _imported(where: str, load: Callable[[], Any]) -> None:
    """Imports code of the user; whatever it raises is an error of SOURCE."""
    try:
        load()
    except TorchportError:
        raise
    except ModuleNotFoundError as error:
        own = error.name is not None and (where == error.name or where.startswith(f"{error.name}."))
        message = f"there is no Python module {where!r}" if own else f"SOURCE imports a module that is not installed: {error.name}"
        raise OptionError(message, stage="load", where=last_line(error) or where, expected=_FORMS if own else None) from error
    except SyntaxError as error:
        line = f"{error.filename}:{error.lineno}"
        raise OptionError(
            f"SOURCE is not valid Python: {error.msg}", stage="load", where=line, found=(error.text or "").strip() or None
        ) from error
    except (Exception, SystemExit) as error:
        what = "SOURCE exits while it is imported" if isinstance(error, SystemExit) else f"SOURCE raised {type(error).__name__}: {error}"
        raise OptionError(
            what, stage="load", where=last_line(error) or where, hint='what a script does belongs under `if __name__ == "__main__":`'
        ) from error
