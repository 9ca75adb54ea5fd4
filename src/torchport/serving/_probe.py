"""Run by the server's own Python, with the standard library alone: says as JSON where the server is and what is installed there."""

import importlib.metadata
import importlib.util
import json
import pathlib
import sys
import sysconfig


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Prints the document."""
    spec = importlib.util.find_spec("pytriton")
    print(  # noqa: T201 - the process that started this one reads it
        json.dumps(
            {
                "wheel": None if spec is None or spec.origin is None else str(pathlib.Path(spec.origin).parent),
                "python": f"{sys.version_info.major}.{sys.version_info.minor}",
                "libraries": sysconfig.get_config_var("LIBDIR"),
                "versions": {name: _version(name) for name in ("nvidia-pytriton", "numpy", "onnxruntime", "torch")},
            }
        )
    )


if __name__ == "__main__":
    main()
