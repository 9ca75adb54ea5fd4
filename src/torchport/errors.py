"""The error tree: every refusal says where, what was found, what was expected, what to try.

TorchportError
├── OptionError (ValueError)            an argument of a call is unusable
│   ├── OptionTypeError (TypeError)     an argument of a call is of the wrong type
│   └── UnknownNameError                a name that no registry knows
├── PortError                           a declaration of ports is unusable
│   ├── PortTypeError (TypeError)       a value has the wrong type or element type for its port
│   └── PortValueError (ValueError)     a value has the wrong rank, size or content for its port
├── HookError                           a hook of the model raised or returned the wrong thing
├── ReferenceRunError                   the untouched model itself cannot serve as the reference
├── PrepareError                        a module could not be prepared
│   └── SwapError                       a swapped module does not equal the one it replaces
├── CaptureError                        no strategy captured the model
│   └── FrozenDecisionError             the capture would freeze a decision that depends on values
├── MetadataError (ValueError)          what an artifact says of its own use is broken, or of a version that is not known
├── EmitError                           the artifact could not be written
│   ├── OpsetError (ValueError)         the opset asked for cannot be had
│   ├── UnusablePathError (ValueError)  the output's place, or the artifact at a path, cannot be used
│   └── ArtifactExistsError (FileExistsError)
├── RuntimeFailure                      the artifact's runtime refused, crashed or hung
│   └── NoAnswerError (TimeoutError)    it did not answer in time
├── ProofError                          the artifact is not equal to the model
├── PackageError                        an artifact cannot be packaged
│   └── BundleError (ValueError)        a bundle's manifest is missing, broken, or of a version that is not known
├── BrokenBundleError                   a bundle is not what was packaged, or answers otherwise
├── ServeError                          a server does not start, does not answer, or refuses
├── BrokenContractError                 the artifact does not keep the contract that its clients count on
├── ExtensionError (AssertionError)     a test asserts what an extension promises, and it does not keep it
├── NotExportableError (AssertionError) a test asserts that a model can be exported, and it cannot
├── ContractError (ValueError)          a contract lock is broken, or of a version that is not known
├── ArchiveError (ValueError)           a checkpoint is broken or hostile
│   ├── UntrustedClassError             the config names a class that is not registered
│   └── UnsupportedOptionError          the config uses an option of NeMo's that is not rebuilt here
├── UnknownModelError (ValueError)      no such pretrained model
└── MissingDependencyError (ImportError)
"""

from __future__ import annotations

__all__ = [
    "ArchiveError",
    "ArtifactExistsError",
    "BrokenBundleError",
    "BrokenContractError",
    "BundleError",
    "CaptureError",
    "ContractError",
    "EmitError",
    "ExtensionError",
    "FrozenDecisionError",
    "HookError",
    "MetadataError",
    "MissingDependencyError",
    "NoAnswerError",
    "NotExportableError",
    "OpsetError",
    "OptionError",
    "OptionTypeError",
    "PackageError",
    "PortError",
    "PortTypeError",
    "PortValueError",
    "PrepareError",
    "ProofError",
    "ReferenceRunError",
    "RuntimeFailure",
    "ServeError",
    "SwapError",
    "TorchportError",
    "UnknownModelError",
    "UnknownNameError",
    "UnsupportedOptionError",
    "UntrustedClassError",
    "UnusablePathError",
]


class TorchportError(Exception):
    """The base of every error that torchport raises on purpose.

    Args:
        message: One sentence: what went wrong.
        stage: The stage that refused: ``declare``, ``reference``, ``prepare``, ``capture``, ``emit``,
            ``verify``, ``package``, ``load``, ``serve`` or ``request``. ``None`` takes the class's own.
        where: The port, module path or file that it is about.
        found: What was found there.
        expected: What was expected instead.
        hint: What to try.

    Example:
        >>> print(PortValueError("a size is wrong", where="audio_signal", found="80", expected="64"))
        declare: a size is wrong
          where: audio_signal
          found: 80
          expected: 64
    """

    stage: str = "torchport"
    exit_code: int = 1
    """The exit code of the command line for this error."""
    also_tried: tuple[str, ...] = ()
    """What else was tried and failed, each with its reason, in words."""

    def __init__(
        self,
        message: str,
        *,
        stage: str | None = None,
        where: str | None = None,
        found: object = None,
        expected: object = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.stage = stage or type(self).stage
        self.where = where
        self.found = found
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"{self.stage}: {self.message}"]
        for label in ("where", "found", "expected"):
            value = getattr(self, label)
            if value is not None:
                lines.append(f"  {label}: {value}")
        if self.hint:
            lines.append(f"  try: {self.hint}")
        lines += [f"  also tried {one}" for one in self.also_tried]
        return "\n".join(lines)


class OptionError(TorchportError, ValueError):
    """An argument of a call is unusable."""

    stage = "declare"
    exit_code = 2


class OptionTypeError(OptionError, TypeError):
    """An argument of a call is of the wrong type."""


class UnknownNameError(OptionError):
    """A name that no registry knows; the message lists the names it does."""


class PortError(TorchportError):
    """A declaration of ports is unusable."""

    stage = "declare"
    exit_code = 2


class PortTypeError(PortError, TypeError):
    """A value has the wrong type or element type for its port."""


class PortValueError(PortError, ValueError):
    """A value has the wrong rank, size or content for its port."""


class HookError(TorchportError):
    """A hook of the model raised, or returned the wrong thing."""

    stage = "declare"
    exit_code = 2


class ReferenceRunError(TorchportError):
    """The untouched model cannot serve as the reference: it fails, or two runs of it differ."""

    stage = "reference"


class PrepareError(TorchportError):
    """A module could not be prepared for export."""

    stage = "prepare"


class SwapError(PrepareError):
    """A swapped module does not equal the one that it replaces."""


class CaptureError(TorchportError):
    """No strategy captured the model."""

    stage = "capture"


class FrozenDecisionError(CaptureError):
    """The capture froze a decision that depends on values: no example can settle whether it is right."""


class MetadataError(TorchportError, ValueError):
    """What an artifact says of its own use is broken, of a version that is not known, or not enough for what is asked."""

    stage = "declare"
    exit_code = 2


class EmitError(TorchportError):
    """The artifact could not be written."""

    stage = "emit"


class OpsetError(EmitError, ValueError):
    """The opset that was asked for cannot be had."""

    exit_code = 2


class UnusablePathError(EmitError, ValueError):
    """The output cannot be written where it was asked for, or the file at a path is no artifact of the format of its extension."""

    exit_code = 2


class ArtifactExistsError(EmitError, FileExistsError):
    """The output exists, and ``overwrite`` was not given."""

    exit_code = 2


class RuntimeFailure(TorchportError):
    """The artifact's runtime refused to load or run it, crashed, or did not answer in time."""

    stage = "verify"


class NoAnswerError(RuntimeFailure, TimeoutError):
    """The artifact's runtime did not answer in time: nothing is known of its answers."""


class ProofError(TorchportError):
    """The artifact is not equal to the model. ``proof`` holds the whole record."""

    stage = "verify"
    exit_code = 3
    proof: object = None
    rejected: object = None
    """With ``keep_rejected``: the artifact that failed, and what it was held against (`torchport.result.Rejected`)."""


class PackageError(TorchportError):
    """An artifact cannot be packaged for the target that was asked for; nothing was written."""

    stage = "package"
    exit_code = 2


class BundleError(PackageError, ValueError):
    """A bundle cannot be read: its manifest is missing, broken, or of a version that is not known here."""


class BrokenBundleError(TorchportError):
    """A bundle is not what was packaged, or answers otherwise. ``report`` holds every finding; the exit code is the report's."""

    stage = "check"
    report: object = None


class ServeError(TorchportError):
    """A server does not start, does not answer, or refuses; what it said is in ``found``."""

    stage = "serve"


class BrokenContractError(TorchportError):
    """The artifact does not keep the contract that its clients count on. ``changes`` holds what changed, where there is a contract."""

    stage = "contract"
    exit_code = 4
    changes: object = None


class ExtensionError(TorchportError, AssertionError):
    """A test asserts what every format or replacement promises, and one does not keep it."""

    stage = "test"


class NotExportableError(TorchportError, AssertionError):
    """A test asserts that a model can be exported, and it cannot. ``failures`` holds one record for each format that failed."""

    stage = "test"
    failures: tuple[object, ...] = ()

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  {line}" for one in self.failures for line in str(one).splitlines())])


class ContractError(TorchportError, ValueError):
    """A contract lock is broken, or of a version that is not known here."""

    stage = "load"
    exit_code = 2


class ArchiveError(TorchportError, ValueError):
    """A checkpoint archive is broken or hostile; nothing of it was used."""

    stage = "load"
    exit_code = 2


class UntrustedClassError(ArchiveError):
    """The config names a class that is neither registered nor explicitly trusted."""


class UnsupportedOptionError(ArchiveError):
    """The config of an archive that NeMo wrote uses an option that is not rebuilt here."""


class UnknownModelError(TorchportError, ValueError):
    """There is no pretrained model of that name."""

    stage = "load"
    exit_code = 2


class MissingDependencyError(TorchportError, ImportError):
    """An optional package is needed here; the message names the extra that installs it."""

    stage = "load"
    exit_code = 2
