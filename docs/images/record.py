"""Makes ``demo.svg``: runs the command line in a terminal of its own and draws what it printed.

.venv/bin/python docs/images/record.py
"""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 104
COMMANDS = ("torchport export speaker-encoder-en -o voice.onnx",)
HERE = Path(__file__).resolve().parent


def printed_by(command: str, folder: Path) -> str:
    """What ``command`` prints to a terminal, colours and all."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color", "COLORTERM": "truecolor", "OMP_NUM_THREADS": "1"}
    program = Path(sys.executable).with_name(command.split()[0])
    process = subprocess.Popen([program, *command.split()[1:]], cwd=folder, env=environment, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end was closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return b"".join(pieces).decode().replace("\r\n", "\n")


def main() -> None:
    """Writes the picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            console.print(Text.from_ansi(printed_by(command, Path(folder)).rstrip("\n")))
    picture = HERE / "demo.svg"
    picture.write_text(console.export_svg(title="torchport", unique_id="demo"), encoding="utf-8")
    sys.stdout.write(f"{picture.name}: {picture.stat().st_size / 1024:.0f} kB\n")


if __name__ == "__main__":
    main()
