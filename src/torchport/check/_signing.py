"""Who vouches for a bundle: a seam for signatures over the manifest, which holds the digest of every other file."""

from __future__ import annotations

import abc
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from torchport._registry import Registry
from torchport.errors import BundleError, OptionError

__all__ = ["HmacSigner", "Signer", "format_signature", "read_signature", "signers"]

_SHORTEST = 16
_LARGEST = 2**20


class Signer(abc.ABC):
    """Signs the bytes of a manifest, and says later whether a signature is one of them.

    Attributes:
        name: What the manifest calls this kind of signature.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def sign(self, message: bytes) -> str:
        """The signature of ``message``, as a text."""

    @abc.abstractmethod
    def verify(self, message: bytes, signature: str) -> bool:
        """Whether ``signature`` is one of ``message``; text of any kind may come."""


class HmacSigner(Signer):
    """A keyed digest (HMAC-SHA-256, RFC 2104): whoever has the key can check a bundle, and could have made it.

    Args:
        key: At least 16 random bytes, the same where a bundle is made and where it is checked.

    Raises:
        OptionError: The key is shorter.

    Example:
        >>> signer = HmacSigner(b"sixteen or more random bytes")
        >>> signer.verify(b"message", signer.sign(b"message"))
        True
        >>> signer.verify(b"another", signer.sign(b"message"))
        False
    """

    name: ClassVar[str] = "hmac-sha256"

    def __init__(self, key: bytes) -> None:
        if len(key) < _SHORTEST:
            raise OptionError(
                "the key is too short to sign with",
                stage="check",
                found=f"{len(key)} bytes",
                expected=f"{_SHORTEST} random bytes or more",
                hint="head -c 32 /dev/urandom > bundle.key",
            )
        self._key = key

    def sign(self, message: bytes) -> str:
        """The digest in hexadecimal digits."""
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    def verify(self, message: bytes, signature: str) -> bool:
        """Compares in constant time."""
        return hmac.compare_digest(self.sign(message).encode(), signature.encode("utf-8", "replace"))


def _hmac_of(path: Path) -> Signer:
    try:
        return HmacSigner(path.read_bytes())
    except OSError as error:
        raise OptionError("the key cannot be read", stage="check", where=str(path), found=error.strerror) from error


signers: Registry[Callable[[Path], Signer]] = Registry("signer", group="torchport.signers")
"""By name, what makes a signer of the file with its key."""

signers.add(HmacSigner.name, _hmac_of)


def format_signature(signer: Signer, message: bytes) -> bytes:
    """The content of the signature's file."""
    return (json.dumps({"signer": signer.name, "signature": signer.sign(message)}, indent=2) + "\n").encode()


def read_signature(path: Path) -> tuple[str, str]:
    """The kind and the text of a signature.

    Raises:
        BundleError: There is none, or it cannot be read.
    """
    try:
        if path.is_symlink() or path.stat().st_size > _LARGEST:
            raise ValueError("it is a link, or too large")
        entry: Any = json.loads(path.read_text(encoding="utf-8"))
        name, signature = entry["signer"], entry["signature"]
        if not isinstance(name, str) or not isinstance(signature, str):
            raise ValueError("it holds no texts")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(
            "the signature cannot be read", stage="check", where=path.name, found=f"{type(error).__name__}: {error}"
        ) from error
    return name, signature
