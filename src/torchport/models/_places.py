"""Where a checkpoint lies and where its weights go: paths and devices, refused by name before anything is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from torchport.errors import OptionError, OptionTypeError

if TYPE_CHECKING:
    import torch

__all__ = ["as_device", "as_path"]


def as_path(path: object, argument: str) -> Path:
    """Reads a path.

    Raises:
        OptionTypeError: It is none.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OptionTypeError(
            "a checkpoint is named by its path", stage="load", where=argument, found=repr(path)[:120], expected="a str or a pathlib.Path"
        )
    if "\0" in os.fspath(path):
        raise OptionError("a path holds no zero byte", stage="load", where=argument, found=repr(path)[:120])
    return Path(path)


def as_device(place: object) -> torch.device | None:
    """Reads ``map_location``, and sees that a tensor can be made there.

    Raises:
        OptionTypeError: It is neither text nor a device.
        OptionError: There is no such device here.
    """
    if place is None:
        return None
    import torch

    expected = "a device like 'cpu' or 'cuda:0', or None"
    if not isinstance(place, (str, torch.device)):
        raise OptionTypeError("map_location is a device", stage="load", where="map_location", found=repr(place)[:120], expected=expected)
    try:
        device = torch.device(place)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch says an unusable device by any of these
        raise OptionError(
            "weights cannot be put on that device",
            stage="load",
            where="map_location",
            found=f"{place}: {str(error).partition(chr(10))[0]}"[:300],
            expected=expected,
        ) from error
    return device
