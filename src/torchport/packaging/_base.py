"""The base of every deploy target, and the registry of them."""

from __future__ import annotations

import abc
import contextlib
import difflib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, final

from torchport._registry import Registry
from torchport.emit import format_for
from torchport.emit._files import digests_of
from torchport.errors import OptionError, PackageError, TorchportError, UnusablePathError
from torchport.packaging._place import check_place, new_directory
from torchport.packaging._records import Order, Packaged, Part

__all__ = ["Target", "targets"]


class Target(abc.ABC):
    """One kind of package.

    An author gives ``name``, ``is_ours`` and ``_write``, and ``_check`` where the package can be tried. The base sees to it that the
    artifacts are those that were proved, that the package is there as a whole or not at all, that nothing foreign is replaced, and that
    what goes wrong is a `PackageError`.

    Attributes:
        name: The registered name.
        options: What it takes beside the common arguments: name to what it means.
        can_be_signed: Whether it makes use of a signer.
        formats: The artifact formats that it takes; empty: all of them.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, str]] = {}
    can_be_signed: ClassVar[bool] = False
    formats: ClassVar[Sequence[str]] = ()

    @final
    def package(self, parts: Sequence[Part], order: Order) -> Packaged:
        """Writes a package.

        Args:
            parts: The artifacts, at least one, each with goldens.
            order: Where to, and what else was asked for.

        Raises:
            PackageError: The artifacts cannot be packaged so.
            ArtifactExistsError: Something is there that may not be replaced.
            UnusablePathError: The place cannot be written, or an artifact was changed since it was exported.
        """
        if not parts:
            raise PackageError("there is nothing to package", where=self.name, expected="at least one artifact")
        for part in parts:
            if not part.goldens:
                raise PackageError("an artifact without golden inputs cannot be packaged", where=part.artifact.path.name)
        self.check_order(order)
        settled = self._settle(order)
        with self._placed(parts, order) as stage:
            try:
                notes = [*settled, *self._write(parts, stage, order)]
                self._check(stage, order)
            except TorchportError:
                raise
            except OSError as error:
                raise UnusablePathError(
                    f"the {self.name} could not be written", stage="package", where=str(order.directory), found=error.strerror
                ) from error
            except Exception as error:
                raise PackageError(
                    f"the {self.name} could not be made: {type(error).__name__}: {error}", where=order.directory.name
                ) from error
            files = tuple(sorted(path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file()))
        return Packaged(self.name, self._home(parts, order), files, tuple(dict.fromkeys(notes)))

    @final
    def check_order(self, order: Order) -> None:
        """Refuses what this target does not take.

        Raises:
            OptionError: An option is not known here, or a signer is of no use.
        """
        for name in order.options:
            if self._option(name) not in self.options:
                near = difflib.get_close_matches(name, self.options, n=1)
                raise OptionError(
                    f"the target {self.name} has no such option",
                    stage="package",
                    found=name,
                    expected=", ".join(self.options) or "none",
                    hint=f"did you mean {near[0]!r}?" if near else None,
                )
        if order.signer is not None and not self.can_be_signed:
            raise OptionError(f"the target {self.name} holds no signature", stage="package", found=order.signer.name)

    def _option(self, name: str) -> str:
        """The option that is meant: ``name`` itself, unless a target lets parts have their own."""
        return name

    def check_place(self, order: Order) -> None:
        """Refuses a place that cannot be written to, before anything dear is done.

        Raises:
            ArtifactExistsError: Something is there that may not be replaced.
            UnusablePathError: The folder above is missing.
        """
        check_place(order.directory, overwrite=order.overwrite, is_ours=self.is_ours)

    def check_export(self, order: Order, output: Path) -> None:
        """Refuses what is known before an artifact is exported, let alone packaged; nothing is at ``output`` yet.

        Args:
            order: What will be asked for.
            output: Where the artifact will be.

        Raises:
            PackageError: The target takes no artifact of that format.
            TorchportError: The order cannot be met for another reason.
        """
        self.check_order(order)
        self.check_place(order)
        found = format_for(output).name
        if self.formats and found not in self.formats:
            raise PackageError(
                f"the target {self.name} does not take such a file",
                where=output.name,
                found=found,
                expected=", ".join(self.formats),
                hint="export it to .onnx" if "onnx" in self.formats else None,
            )

    def _settle(self, order: Order) -> Sequence[str]:
        """Puts right what an earlier call left that was killed; gives notes for the user."""
        return ()

    def _home(self, parts: Sequence[Part], order: Order) -> Path:
        """Where the package is in the end."""
        return order.directory

    def _placed(self, parts: Sequence[Part], order: Order) -> contextlib.AbstractContextManager[Path]:
        """An empty folder that goes to its place when the context ends without an error."""
        return new_directory(order.directory, overwrite=order.overwrite, is_ours=self.is_ours)

    @abc.abstractmethod
    def is_ours(self, directory: Path) -> bool:
        """Whether a folder is a package of this target: only such a one is ever replaced."""

    @abc.abstractmethod
    def _write(self, parts: Sequence[Part], stage: Path, order: Order) -> Sequence[str]:
        """Fills ``stage``, an empty folder; gives notes for the user."""

    def _check(self, stage: Path, order: Order) -> None:  # noqa: B027 - a target that nothing can try here is a fine default
        """Tries what was written, and raises where it does not hold; it is not handed over then."""

    @final
    def copy_artifact(self, part: Part, folder: Path) -> tuple[Path, ...]:
        """Copies an artifact's files into a folder, the one to open first; they must be what the export wrote.

        Raises:
            UnusablePathError: They are not.
        """
        copies = []
        for path in part.artifact.paths:
            copy = folder / path.name
            try:
                shutil.copyfile(path, copy)
            except FileNotFoundError as error:
                raise UnusablePathError("the artifact is not there any more", stage="package", where=str(path)) from error
            copies.append(copy)
        found = digests_of(copies)
        if found != dict(part.artifact.digests):
            odd = next(
                iter(name for name in part.artifact.digests if found.get(name) != part.artifact.digests[name]), part.artifact.path.name
            )
            raise UnusablePathError("the artifact was changed since it was exported", stage="package", where=odd)
        return tuple(copies)


targets: Registry[Target] = Registry("target", group="torchport.targets")
"""Every target, by name."""
