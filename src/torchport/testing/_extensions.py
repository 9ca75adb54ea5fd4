"""For authors of extensions: what every format and every replacement promises, asserted over one's own."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from torchport.emit import formats, read_metadata
from torchport.errors import ExtensionError, OptionError, SwapError, TorchportError
from torchport.pipeline import export
from torchport.prepare import PairReplacement, Replacement, kept_as_found, replacements, state_digest, swap_modules
from torchport.prepare.replacement import prove_equal

__all__ = ["assert_format", "assert_replacement"]

_PLAIN = (nn.Linear(3, 3), nn.Identity(), nn.LayerNorm(3), nn.Sequential())
_TYPES: dict[str, Any] = {
    "input_types": {"x": ("batch 4 time", "float32"), "shift": ("batch", "int64")},
    "output_types": {"y": ("batch 3 time", "float32"), "total": ("batch", "int64")},
}
_STATED = ("torchport.version", "torchport.model", "torchport.strategy", "torchport.signature")


class _Tiny(nn.Module):
    """Weights, two dynamic axes, two dtypes, two outputs: the least that a format has to carry."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 3, 3, padding=1)

    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.conv(x).relu() + shift[:, None, None], shift * 2


def assert_format(name: str, *, strategies: Sequence[str] | None = None, same_bytes: bool = True) -> None:
    """Asserts what every registered format promises, with a tiny model.

    A file is proved equal to the model in the format's runtime, at sizes other than the traced one; the same model gives the same bytes in
    another folder; the folder is nowhere in the file; what the file shall say about itself can be read back; every extension is found.

    Args:
        name: The registered name.
        strategies: Those to try; ``None``: all that the format lists.
        same_bytes: ``False`` leaves that promise out, for a format whose own library writes in no fixed order.

    Raises:
        ExtensionError: An ``AssertionError``: a promise is not kept; the message says which.
        UnknownNameError: There is no such format.

    Example:
        >>> from torchport.testing import assert_format
        >>> assert_format("torchscript", strategies=["script"])
    """
    __tracebackhide__ = True
    format = formats[name]
    suffixes = list(format.suffixes)
    if not suffixes or any(one != one.lower() or not one.startswith(".") for one in suffixes):
        _broken(name, "its extensions are in lower case and begin with a dot", suffixes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Tiny().eval()
    with tempfile.TemporaryDirectory(prefix="torchport-") as folder:
        for strategy in strategies or format.strategies:
            paths = [Path(folder) / f"{strategy}-{place}" / f"m{suffixes[0 if place == 'one' else -1]}" for place in ("one", "other")]
            for path in paths:
                path.parent.mkdir()
                try:
                    result = export(model, path, strategy=strategy, **_TYPES)
                except TorchportError as error:
                    raise ExtensionError(f"{name}, {strategy}: a tiny model cannot be exported", found=str(error)) from error
                if (written := result.parts[0].artifact.format) != name:
                    _broken(name, f"{path.suffix} is its own", written)
                said = read_metadata(path)
                if missing := [one for one in _STATED if not said.get(one)]:
                    _broken(name, f"{strategy}: read_metadata gives back what the file shall say about itself", f"no {', '.join(missing)}")
                if leak := next((one for one in (folder.encode(), str(Path(__file__).parent).encode()) if one in _content(path)), None):
                    _broken(name, f"{strategy}: the file holds no path of the machine that wrote it", leak.decode())
            one, other = (sorted(path.parent.iterdir()) for path in paths)
            if same_bytes and [file.read_bytes() for file in one] != [file.read_bytes() for file in other]:
                _broken(name, f"{strategy}: the same model gives the same bytes", f"{one[0].name} differs from folder to folder")


def assert_replacement(replacement: Replacement, module: nn.Module, inputs: Sequence[Any] | None = None) -> None:
    """Asserts what every replacement promises, with a module that it is for.

    It matches the module, no plain one, and not what it made itself; the new module is another one, computes the same and has the same
    mode; the old one is unchanged; inside a model it is swapped and put back.

    Args:
        replacement: The replacement; it need not be registered.
        module: A module that it is for.
        inputs: Positional inputs of the module; ``None`` takes the replacement's ``probe``.

    Raises:
        ExtensionError: An ``AssertionError``: a promise is not kept; the message says which.
        OptionError: It folds pairs, or there are no inputs.

    Example:
        >>> from torch import nn
        >>> from torchport.prepare import replacements
        >>> from torchport.testing import assert_replacement
        >>> assert_replacement(replacements["dropout"], nn.Dropout(), [torch.randn(2, 3)])
    """
    __tracebackhide__ = True
    name = replacement.name
    if isinstance(replacement, PairReplacement):
        raise OptionError("a pair is folded where the data flow of a model shows it", where=name, hint="export a model that holds both")
    args = replacement.probe(module) if inputs is None else tuple(inputs)
    if args is None:
        raise OptionError("there are no inputs to compare with", where=name, hint="pass inputs, or give the replacement a probe")
    if plain := next((one for one in _PLAIN if type(one) is not type(module) and replacement.matches(one)), None):
        _broken(name, "it matches no plain module", type(plain).__qualname__)
    with kept_as_found(module), torch.no_grad():
        if not replacement.matches(module.eval()):
            _broken(name, "it matches a module that it is for, in eval mode", type(module).__qualname__)
        for training in (True, False):
            if not replacement.matches(module.train(training)):
                continue  # a clean-up is for inference only
            before = state_digest(module)
            new = _applied(replacement, module)
            if state_digest(module) != before:
                _broken(name, "the old module is unchanged", "other weights, attributes or modes")
            if new.training is not training:
                _broken(name, "the new module has the mode of the old one", f"training={new.training}")
        try:
            answer = new(*(one.clone() if isinstance(one, torch.Tensor) else one for one in args))
            prove_equal(name, answer, replacement.reference(module), args, {}, where="", types=type(module).__qualname__)
        except SwapError as error:
            raise ExtensionError(f"{name}: {error.message}", found=error.found, expected=error.expected) from error
    if replacement.matches(new):
        _broken(name, "it does not match what it made itself", type(new).__qualname__)
    _swapped_in_a_model(replacement, module, args)


def _applied(replacement: Replacement, module: nn.Module) -> nn.Module:
    try:
        return replacement.apply(module)
    except SwapError as error:
        raise ExtensionError(f"{replacement.name}: {error.message}", found=error.found, expected=error.expected) from error


def _swapped_in_a_model(replacement: Replacement, module: nn.Module, args: tuple[Any, ...]) -> None:
    """The walk swaps it, and puts it back."""
    if replacement.on_request not in (None, "replace_1D_2D"):
        return  # only an export with its keyword does
    name, model = replacement.name, nn.Sequential(module)
    known = name in replacements
    if not known:
        replacements.add(name, replacement)
    try:
        with kept_as_found(model):
            model.eval()
            swaps = swap_modules(model, replace_1D_2D=True, example_call=lambda: model[0](*args))
            if "0" not in {swap.path for swap in swaps}:
                _broken(name, "a model that holds the module is swapped", "no swap")
    finally:
        if not known:
            replacements.remove(name)
    if model[0] is not module:
        _broken(name, "the old module comes back", "another one")


def _content(path: Path) -> bytes:
    """Everything that a reader of the files sees, archives opened."""
    found = b""
    for file in sorted(path.parent.iterdir()):
        found += file.read_bytes()
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                found += b"".join(archive.read(one) for one in archive.namelist())
    return found


def _broken(name: str, promise: str, found: object) -> NoReturn:
    raise ExtensionError(f"{name} does not keep a promise", expected=promise, found=found)
