"""Numbers of things in messages."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, what: str, several: str = "") -> str:
    """So many of a thing.

    Args:
        number: How many.
        what: The thing.
        several: More than one of it, where that is no ``s`` more.

    Example:
        >>> counted(1, "finding"), counted(0, "finding"), counted(2, "entry", "entries")
        ('1 finding', '0 findings', '2 entries')
    """
    return f"{number} {what if number == 1 else several or f'{what}s'}"
