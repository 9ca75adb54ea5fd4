"""The lock: a contract as a JSON file that is the same to the byte for the same contract, and is read as if it were hostile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from torchport._strict_json import strict_json
from torchport.contract._records import AxisTerm, Contract, PortTerm, SizeRange
from torchport.emit import formats, staging
from torchport.errors import ContractError, UnusablePathError

__all__ = ["LOCK_VERSION", "format_lock", "is_artifact", "parse_lock", "read_lock", "write_lock"]

LOCK_VERSION = 1
"""The version of the lock's layout; a lock of another one is refused."""

_VERSION = "torchport_contract"
_LARGEST = 2**24
_MISSING = object()


def format_lock(contract: Contract) -> str:
    """The text of a lock."""
    document = {
        _VERSION: LOCK_VERSION,
        "format": contract.format,
        "inputs": [_port(port) for port in contract.inputs],
        "outputs": [_port(port) for port in contract.outputs],
        "symbols": {name: vars(one) for name, one in sorted(contract.symbols.items())},
        "opsets": dict(sorted(contract.opsets.items())),
        "ir_version": contract.ir_version,
        "model": contract.model,
        "strategy": contract.strategy,
        "writer": dict(sorted(contract.writer.items())),
        "digests": dict(sorted(contract.digests.items())),
    }
    return json.dumps(document, indent=2) + "\n"


def write_lock(contract: Contract, path: Path, *, overwrite: bool = False) -> None:
    """Writes a lock, whole or not at all.

    Args:
        contract: What to lock.
        path: The file, ``m.contract.json`` by custom; its extension is that of no format.
        overwrite: Replace a file that holds something else.

    Raises:
        ArtifactExistsError: The file exists and holds something else, and ``overwrite`` was not given.
        UnusablePathError: Nothing can be written there, or the extension is that of an artifact.
    """
    path = Path(path)
    if is_artifact(path):
        raise UnusablePathError(
            "a contract lock cannot have the extension of an artifact", where=str(path), expected="a .json file", hint="m.contract.json"
        )
    content = format_lock(contract).encode()
    if path.is_file() and path.read_bytes() == content:
        return
    with staging(path, overwrite=overwrite) as stage:
        written = stage.directory / path.name
        written.write_bytes(content)
        stage.commit((written,))


def _port(port: PortTerm) -> dict[str, Any]:
    axes = None if port.axes is None else [vars(axis) for axis in port.axes]
    return {"name": port.name, "dtype": port.dtype, "axes": axes, "element": port.element, "optional": port.optional}


def is_artifact(path: Path) -> bool:
    """Whether the extension is that of a registered format."""
    return any(path.suffix.lower() in format.suffixes for format in formats.values())


def read_lock(path: Path) -> Contract:
    """Reads a lock file.

    Raises:
        ContractError: It cannot be read, is no lock, or of another version; the message says where it is wrong.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise ContractError("the file is too large for a contract lock", where=str(path), expected=f"{_LARGEST} bytes at most")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ContractError("the contract lock cannot be read", where=str(path), found=f"{type(error).__name__}: {error}") from error
    return parse_lock(text, where=str(path))


def parse_lock(text: str, *, where: str = "lock") -> Contract:
    """Reads the text of a lock; see `read_lock`.

    Args:
        text: What `format_lock` wrote.
        where: The file, for messages.
    """
    try:
        document = strict_json(text)
    except (ValueError, RecursionError) as error:
        raise ContractError("the contract lock is no JSON", where=where, found=str(error)[:200]) from error
    reader = _Reader(where)
    entry = reader.table(document, "")
    version = entry.get(_VERSION, _MISSING)
    if version is _MISSING:
        raise ContractError("the file is no contract lock", where=where, expected=f"{_VERSION!r}: {LOCK_VERSION}")
    if type(version) is not int or version != LOCK_VERSION:
        raise ContractError(
            "the contract lock has a layout that is not known here",
            where=where,
            found=f"version {_shown(version)}",
            expected=f"version {LOCK_VERSION}",
            hint="make it again with `torchport inspect ARTIFACT --lock`, or use the torchport that wrote it",
        )
    return reader.contract(entry)


class _Reader:
    """Reads the parts of a lock; every message says which part."""

    def __init__(self, file: str) -> None:
        self._file = file

    def contract(self, entry: Mapping[str, Any]) -> Contract:
        self._names(
            entry,
            "",
            (_VERSION, "format", "inputs", "outputs", "symbols", "opsets", "ir_version", "model", "strategy", "writer", "digests"),
        )
        contract = Contract(
            format=self._text(entry["format"], "format"),
            inputs=self._ports(entry["inputs"], "inputs"),
            outputs=self._ports(entry["outputs"], "outputs"),
            symbols={name: self._range(one, f"symbols.{name}") for name, one in self.table(entry["symbols"], "symbols").items()},
            opsets={name: self._whole(one, f"opsets.{name}") for name, one in self.table(entry["opsets"], "opsets").items()},
            ir_version=None if entry["ir_version"] is None else self._whole(entry["ir_version"], "ir_version"),
            model=self._text_or_none(entry["model"], "model"),
            strategy=self._text_or_none(entry["strategy"], "strategy"),
            writer={name: self._text(one, f"writer.{name}") for name, one in self.table(entry["writer"], "writer").items()},
            digests={name: self._digest(one, f"digests.{name}") for name, one in self.table(entry["digests"], "digests").items()},
        )
        used = {axis.symbol for port in (*contract.inputs, *contract.outputs) for axis in port.axes or () if axis.symbol is not None}
        for name in sorted(used ^ set(contract.symbols)):
            self._refuse(f"symbols.{name}", "no range" if name in used else "a range that no axis uses", "one range for each symbol")
        return contract

    def _ports(self, found: object, where: str) -> tuple[PortTerm, ...]:
        ports = tuple(self._port(one, f"{where}[{place}]") for place, one in enumerate(self._list(found, where)))
        seen: set[str] = set()
        for place, port in enumerate(ports):
            if port.name in seen:
                self._refuse(f"{where}[{place}].name", f"{port.name} again", "each name once")
            seen.add(port.name)
        return ports

    def _port(self, found: object, where: str) -> PortTerm:
        entry = self.table(found, where)
        self._names(entry, where, ("name", "dtype", "axes", "element", "optional"))
        if not isinstance(entry["optional"], bool):
            self._refuse(f"{where}.optional", entry["optional"], "true or false")
        axes = entry["axes"]
        return PortTerm(
            name=self._text(entry["name"], f"{where}.name"),
            dtype=self._text_or_none(entry["dtype"], f"{where}.dtype"),
            axes=None
            if axes is None
            else tuple(self._axis(one, f"{where}.axes[{place}]") for place, one in enumerate(self._list(axes, f"{where}.axes"))),
            element=self._text_or_none(entry["element"], f"{where}.element"),
            optional=entry["optional"],
        )

    def _axis(self, found: object, where: str) -> AxisTerm:
        entry = self.table(found, where)
        self._names(entry, where, ("size", "symbol"))
        size, symbol = entry["size"], entry["symbol"]
        if size is not None and symbol is not None:
            self._refuse(where, "a size and a symbol", "one of them: an axis is fixed or varies")
        return AxisTerm(None if size is None else self._whole(size, f"{where}.size"), self._text_or_none(symbol, f"{where}.symbol"))

    def _range(self, found: object, where: str) -> SizeRange:
        entry = self.table(found, where)
        self._names(entry, where, ("min", "max", "multiple_of"))
        high = entry["max"]
        made = SizeRange(
            self._whole(entry["min"], f"{where}.min"),
            None if high is None else self._whole(high, f"{where}.max"),
            self._whole(entry["multiple_of"], f"{where}.multiple_of", least=1),
        )
        if made.largest is not None and made.largest < made.smallest:
            self._refuse(where, str(made), "a range with a size in it")
        return made

    def table(self, found: object, where: str) -> dict[str, Any]:
        """A JSON object."""
        if not isinstance(found, dict):
            self._refuse(where, found, "an object")
        return found

    def _list(self, found: object, where: str) -> list[Any]:
        if not isinstance(found, list):
            self._refuse(where, found, "a list")
        return found

    def _names(self, entry: Mapping[str, Any], where: str, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in entry:
                self._refuse(f"{where}.{name}".lstrip("."), "nothing", "an entry")
        for name in entry:
            if name not in names:
                self._refuse(f"{where}.{name}".lstrip("."), "an entry that is not known", ", ".join(names))

    def _text(self, found: object, where: str) -> str:
        if not isinstance(found, str):
            self._refuse(where, found, "a text")
        return found

    def _text_or_none(self, found: object, where: str) -> str | None:
        return None if found is None else self._text(found, where)

    def _whole(self, found: object, where: str, *, least: int = 0) -> int:
        if isinstance(found, bool) or not isinstance(found, int) or found < least:
            self._refuse(where, found, f"a whole number, {least} or more")
        return found

    def _digest(self, found: object, where: str) -> str:
        text = self._text(found, where)
        if len(text) != 64 or set(text) - set("0123456789abcdef"):
            self._refuse(where, text, "a sha256 in hexadecimal")
        return text

    def _refuse(self, part: str, found: object, expected: str) -> NoReturn:
        raise ContractError(
            f"the contract lock is broken at {_visible(part) or 'its top'}",
            where=self._file,
            found=_shown(found),
            expected=expected,
            hint="a lock is written by `torchport inspect ARTIFACT --lock`, not by hand",
        )


def _shown(found: object) -> str:
    if isinstance(found, (dict, list)):
        return "an object" if isinstance(found, dict) else "a list"
    return _visible(found if isinstance(found, str) else json.dumps(found))


def _visible(text: str) -> str:
    text = text if len(text) <= 100 else f"{text[:100]}…"
    return text if text.isprintable() else ascii(text)
