"""``python -m torchport.check DIR`` proves a bundle again; it needs numpy and ONNX Runtime, and no torch for ONNX."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from torchport._version import __version__
from torchport.check import EXIT_CODES, HmacSigner, check, signers
from torchport.errors import TorchportError

__all__ = ["main"]

_EPILOG = "exit codes: 0 the bundle holds, 2 there is no bundle or its manifest cannot be read, " + ", ".join(
    f"{code} {kind}" for kind, code in sorted(EXIT_CODES.items(), key=lambda one: one[1])
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m torchport.check", description="Prove a bundle again where it is.", epilog=_EPILOG)
    parser.add_argument("bundle", type=Path, metavar="DIR", help="what `torchport package` wrote")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the key that the manifest must be signed with")
    parser.add_argument("--signer", default=HmacSigner.name, metavar="NAME", help="the kind of signature; %(default)s if not given")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--version", action="version", version=f"torchport {__version__}")
    given = parser.parse_args(arguments)
    try:
        report = check(given.bundle, signer=None if given.key is None else signers[given.signer](given.key))
    except TorchportError as error:
        if given.json:
            print(json.dumps({"ok": False, "exit_code": error.exit_code, "error": str(error)}))  # noqa: T201 - a command line prints
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    print(json.dumps(report.to_dict(), indent=2) if given.json else report.text())  # noqa: T201 - likewise
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
