"""The command line. Nothing here imports torch before a command needs it, so that ``--help`` is quick."""

from torchport.cli._app import app, main

__all__ = ["app", "main"]
