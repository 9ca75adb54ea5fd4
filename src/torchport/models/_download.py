"""Fetches a listed file into the cache: https only, checked by its digest before anybody sees it, in place in one step."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any

from torchport.errors import ArchiveError, OptionError, TorchportError

__all__ = ["cache_folder", "fetch"]

_CHUNK = 1024**2
_TIMEOUT = 60.0
"""Seconds without a byte."""
_MAX_BYTES = 256 * 1024**3


def cache_folder() -> Path:
    """Where fetched models are kept: ``TORCHPORT_CACHE``, else the platform's cache folder."""
    named = os.environ.get("TORCHPORT_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "torchport"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "torchport" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torchport"


def fetch(url: str, sha256: str, *, where: str) -> Path:
    """The file behind ``url``, from the cache where it is there already.

    Args:
        url: ``https://…`` or ``file://…``.
        sha256: Its digest, in hex. Without one nothing is fetched.
        where: The model's name, for messages.

    Raises:
        OptionError: The list's entry has no digest, or another kind of location.
        ArchiveError: The file has another digest; it was deleted.
        TorchportError: It could not be fetched.
    """
    if urllib.parse.urlsplit(url).scheme not in ("https", "file"):
        raise OptionError(
            "the model's location cannot be used",
            stage="load",
            where=where,
            found=url,
            expected="https://, file://, hf://, builtin: or package:",
        )
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise OptionError("the model is listed without its sha256", stage="load", where=where, found=repr(sha256), expected="64 hex digits")
    sha256 = sha256.lower()
    name = re.sub(r"[^\w.-]", "_", urllib.parse.urlsplit(url).path.rsplit("/", 1)[-1])[-100:] or "model.nemo"
    target = cache_folder() / sha256[:32] / name
    if target.is_file():
        with target.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return target
        target.unlink()  # half of it, or something else: fetched again
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{name}.{secrets.token_hex(8)}.part")
    try:
        found = _download(url, partial, where)
        if found != sha256:
            raise ArchiveError(
                "the file is not the one that was listed: its sha256 differs", where=f"{where}: {url}", found=found, expected=sha256
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
        if not target.is_file() and not any(target.parent.iterdir()):
            target.parent.rmdir()
    return target


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith("https://"):
            raise urllib.error.URLError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, target: Path, where: str) -> str:
    """Writes the file and gives its digest."""
    digest = hashlib.sha256()
    cap = min(_MAX_BYTES, shutil.disk_usage(target.parent).free)
    total = 0
    try:
        with urllib.request.build_opener(_HttpsOnly).open(url, timeout=_TIMEOUT) as response, target.open("xb") as out:
            while block := response.read(_CHUNK):
                total += len(block)
                if total > cap:
                    raise ArchiveError("the file is too large", where=f"{where}: {url}", expected=f"at most {cap} bytes")
                digest.update(block)
                out.write(block)
    except TorchportError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TorchportError(
            "the model could not be fetched", stage="load", where=f"{where}: {url}", found=f"{type(error).__name__}: {reason}"
        ) from error
    return digest.hexdigest()
