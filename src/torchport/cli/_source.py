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
from tarfile import is_tarfile
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torchport._frames import last_line
from torchport._own_words import own_words_only
from torchport.errors import ArchiveError, OptionError, TorchportError, UnknownModelError, UnsupportedOptionError, UntrustedClassError

if TYPE_CHECKING:
    import torch

    from torchport.models import ModelPT
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
        weights: A checkpoint with weights, or an archive; of a `ModelPT` class, an archive brings its config, too.
        weights_key: Which of several state dicts in the checkpoint.
        trust: Classes that an archive may name beside the registered ones: dotted paths, or ``file.py:Class``.
        seed: Random weights start here, so that the next command makes the same. ``None``: at the class's own start, else at 0.
    """

    text: str
    config: Path | None = None
    weights: Path | None = None
    trust: tuple[str, ...] = ()
    seed: int | None = None
    weights_key: str | None = None

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
        if self.weights is None and self.weights_key is not None:
            raise OptionError(
                "a key picks from a checkpoint", where="--weights-key", found=self.weights_key, hint="name it: --weights FILE"
            )
        with torch.random.fork_rng(devices=[]), own_words_only():
            torch.manual_seed(self.seed or 0)
            found = self._found()
            if self.weights is not None and _is_archive(self.weights) and _of_ours(found):
                self._refuse_seed("an archive has")
                return self._restore(found, self.weights)
            module = self._instance(found)
        if self.weights is not None:
            self._load_weights(module, self.weights)
        return module

    def _found(self) -> Any:
        """What SOURCE names: a class, a function, or a module that is there."""
        if self.text.lower().endswith(".nemo"):
            return self._restored()
        if ":" in self.text and "://" not in self.text:
            where, _, name = self.text.rpartition(":")
            module = _imported_file(Path(where)) if where.endswith(".py") or os.sep in where else _imported_module(where)
            return _named_in(module, where, name)
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
            return self._restore(ModelPT, self.text)
        except UnsupportedOptionError as error:
            if not has_nemo():
                raise
            print(f"torchport: {error.message}; NeMo is installed and builds the model", file=sys.stderr)  # noqa: T201 - the command line
        return restore_nemo_archive(self.text, self.config)

    def _restore(self, cls: type[ModelPT], archive: str | Path) -> ModelPT:
        try:
            return cls.restore_from(archive, override_config_path=self.config, trust=self._trusted())
        except UntrustedClassError as error:
            target = str(error.found)
            name = target.rpartition(".")[2]
            of_a_script = target.startswith("__main__.")
            way = f"--trust FILE.py:{name}, where FILE.py is the script that defines it" if of_a_script else f"--trust {target}"
            error.hint = f"if you know who made this file: {way}"
            raise

    def _trusted(self) -> list[str | type]:
        """What the caller vouches for; a class of a file is imported from there."""
        if not self.trust:
            return []
        _importable(str(Path.cwd()))
        trusted: list[str | type] = []
        for text in self.trust:
            where, _, name = text.rpartition(":")
            if not where.endswith(".py"):
                trusted.append(text)
                continue
            found = _named_in(_imported_file(Path(where)), where, name)
            if not isinstance(found, type):
                raise OptionError("--trust names no class", where=text, found=type(found).__name__, expected="file.py:Class")
            trusted.append(found)
        return trusted

    def _known(self) -> Any:
        from torchport.models import ModelPT, families

        if self.text in families:
            return families[self.text].load()
        if self.config is not None:
            raise OptionError(
                "a pretrained model has its own config", where="--config", found=self.text, expected=f"a family: {', '.join(families)}"
            )
        if Path(self.text).is_file():
            raise OptionError(
                "SOURCE is a file of no kind that is known",
                stage="load",
                found=self.text,
                expected=_FORMS,
                hint="an archive's name ends in .nemo: rename it" if is_tarfile(self.text) else None,
            )
        try:
            model = ModelPT.from_pretrained(self.text, trust=self._trusted())
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

    def _instance(self, found: Any) -> torch.nn.Module:
        """The module that a class, a function or an instance stands for."""
        import torch

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
            config = self._seeded(found) if _of_ours(found) else self.config
            if _of_ours(found) and config is not None:
                made = _called(found, self.text, lambda: found.from_config(config, trust=self._trusted()))
            else:
                keywords = _keywords(self.config) if self.config is not None else {}
                made = _called(found, self.text, lambda: found(**keywords))
        elif self.config is not None and not self.text.lower().endswith(".nemo"):
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
        from torchport.models._weights import read_weights
        from torchport.models.archive import open_archive

        if _is_archive(path):
            with open_archive(path) as archive:
                self._copy_weights(module, archive.weights(), path)
            return
        if path.suffix.lower() == ".safetensors":
            from torchport._optional import require

            reader = require("safetensors.torch", extra="safetensors", purpose="read .safetensors files")
            try:
                loaded = reader.load_file(path)
            except Exception as error:
                raise ArchiveError(
                    "the weights cannot be read", where=str(path), found=str(error), expected="a .safetensors file"
                ) from error
        else:
            loaded = read_weights(path, where=str(path), whole=True)
        self._copy_weights(module, loaded, path)

    def _copy_weights(self, module: torch.nn.Module, loaded: dict[str, Any], path: Path) -> None:
        from torchport.models._checkpoint import state_for
        from torchport.models._weights import cast_to_own, copy_into

        state, done = state_for(module, loaded, where=str(path), key=self.weights_key)
        state, cast = cast_to_own(module, state)
        for words in filter(None, (done, cast)):
            print(f"torchport: --weights {path.name}: {words}", file=sys.stderr)  # noqa: T201 - the command line
        copy_into(module, state, strict=True, where=str(path))


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".nemo"


def _of_ours(found: Any) -> bool:
    from torchport.models import ModelPT

    return isinstance(found, type) and issubclass(found, ModelPT)


def _named_in(module: ModuleType, where: str, name: str) -> Any:
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
    return found


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
