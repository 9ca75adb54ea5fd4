"""Holds artifacts against the snapshots of their contracts, or writes the snapshots."""

from __future__ import annotations

from pathlib import Path

from torchport.contract import Changes, contract_of, diff, read_lock, write_lock
from torchport.errors import BrokenContractError, UnusablePathError
from torchport.result import ExportResult

__all__ = ["hold", "snapshot_path"]


def hold(result: ExportResult, contract: Path, suffix: str, *, alone: bool, update: bool) -> None:
    """Compares every artifact of an export with its snapshot.

    Args:
        result: The export; its files are still there.
        contract: Where the snapshot is; see `snapshot_path`.
        suffix: The extension of the format.
        alone: Whether it is the only format that is asserted.
        update: Write the snapshots instead.

    Raises:
        BrokenContractError: A change breaks clients, or there is no snapshot.
        ContractError: The snapshot cannot be read.
        UnusablePathError: The snapshot cannot be written.
    """
    for part in result.parts:
        path = snapshot_path(contract, part.name, None if alone else suffix)
        found = contract_of(part.artifact.path)
        if update:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UnusablePathError("there can be no folder for the snapshot", where=str(path.parent), found=str(error)) from error
            write_lock(found, path, overwrite=True)
            continue
        if not path.is_file():
            raise BrokenContractError(
                "there is no snapshot of the contract",
                where=str(path),
                hint="write it and commit it: pytest --update-contracts, or assert_exportable(…, update_contract=True)",
            )
        changes = diff(read_lock(path), found)
        if changes.verdict == "breaking":
            broken = BrokenContractError(
                f"{part.artifact.path.name} breaks its contract: clients that worked may not work any more",
                where=str(path),
                found="\n" + "\n".join(f"    {line}" for line in _table(changes)),
                hint="where the change is meant, write the snapshot again: pytest --update-contracts",
            )
            broken.changes = changes
            raise broken


def snapshot_path(contract: Path, subnet: str, suffix: str | None) -> Path:
    """Where the snapshot of one artifact is.

    Args:
        contract: The path that was asked for.
        subnet: The subnet's name; another one than ``self`` is put before the file's name, as for artifacts.
        suffix: The format's extension, put before ``.contract.json``; ``None`` where there is only one format.

    Example:
        >>> snapshot_path(Path("m.contract.json"), "self", None).name, snapshot_path(Path("m.contract.json"), "encoder", ".onnx").name
        ('m.contract.json', 'encoder-m.onnx.contract.json')
    """
    name = contract.name if subnet == "self" else f"{subnet}-{contract.name}"
    if suffix is not None:
        ending = ".contract.json" if name.endswith(".contract.json") else contract.suffix
        name = f"{name.removesuffix(ending)}{suffix}{ending}"
    return contract.with_name(name)


def _table(changes: Changes) -> list[str]:
    """The changes in columns, the worst first; what only the content says is left out."""
    told = [change for change in changes if change.rule.grade != "note"]
    rows = [("", "rule", "where", "before", "after"), *((one.rule.grade, one.rule.id, one.where, one.before, one.after) for one in told)]
    safe = [tuple(cell if cell.isprintable() else ascii(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in safe) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in safe]
    return [*lines, *(f"{rule.id}: {rule.words}" for rule in dict.fromkeys(one.rule for one in told) if rule.grade == "breaking")]
