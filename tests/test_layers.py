"""Data flows one way: a room imports only from the rooms above it."""

import ast
from pathlib import Path

import pytest

import torchport

ROOT = Path(torchport.__file__).parent
BASE = {
    "errors",
    "_comparison",
    "_protobuf",
    "_strict_json",
    "_json_schema",
    "_external_data",
    "_collector",
    "_frames",
    "_registry",
    "_optional",
    "_own_words",
    "_counted",
    "_options",
    "_version",
}
ROOMS = [
    "metadata",
    "ports",
    "prepare",
    "capture",
    "emit",
    "verification",
    "contract",
    "check",
    "runtime",
    "repository",
    "packaging",
    "serving",
    "models",
    "integrations",
]
FRONT = {
    "__main__",
    "testing",
    "_hooks",
    "_asked_axes",
    "_attempts",
    "_made_example",
    "_nested_example",
    "_made_multiples",
    "_naming",
    "_outcome",
    "_failed_run",
    "_subject",
    "_whole_numbers",
    "_onnx_module",
    "pipeline",
    "_package",
    "mixin",
    "result",
    "_foreign",
    "loading",
    "cli",
    "__init__",
}
ALIASES = {"types": "ports"}
ALLOWED = {("models", "mixin")}
"""A built-in model is a user's model: it mixes in `Exportable`, which imports the pipeline only when it is called."""


def level(room):
    room = ALIASES.get(room, room)
    if room in BASE:
        return 0
    return 1 + ROOMS.index(room) if room in ROOMS else 1 + len(ROOMS)


def room_of(path):
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("torchport."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "torchport":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("torchport."))


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_from_above(path):
    room = room_of(path)
    for other in imports(path):
        if (
            ALIASES.get(other, other) == ALIASES.get(room, room)
            or (room, other) in ALLOWED
            or other in ("__version__",)
            or {other, room} <= BASE
        ):
            continue
        assert level(other) < level(room) or (level(room) == level(other) == 1 + len(ROOMS)), f"{room} reaches back into {other}"


def test_every_file_belongs_to_a_room():
    assert {room_of(path) for path in FILES} <= BASE | set(ROOMS) | FRONT | set(ALIASES)
