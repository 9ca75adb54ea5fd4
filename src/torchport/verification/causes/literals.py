"""Numbers in the code of a TorchScript file that may be traced sizes, and the file with others in their place."""

from __future__ import annotations

import re
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from torchport.emit._archive import rewrite
from torchport.errors import RuntimeFailure
from torchport.verification._records import Array
from torchport.verification.causes.eager import Step
from torchport.verification.causes.healing import FailingCase, Right, Suspect, Trial, computed_from
from torchport.verification.causes.onnx_values import NodeSeen
from torchport.verification.runtimes._torch_files import TorchFileSession

__all__ = ["LiteralTrial", "literals_of"]

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+(?:e[+-]?\d+)?)?(?![\w.])")
_CONSTANTS = "constants/"

_TOKEN = re.compile(rf"""(?:\b(?:torch|ops\.\w+)\.(\w+))?\(|\)|"[^"\n]*"|'[^'\n]*'|{_NUMBER.pattern}""")

_SHAPING = frozenset({
    "view", "reshape", "expand", "repeat", "tile", "arange", "zeros", "ones", "full", "empty", "new_zeros", "new_ones", "slice", "narrow",
    "split", "chunk", "split_with_sizes", "pad", "as_strided", "unflatten", "upsample_nearest1d", "upsample_nearest2d",
    "upsample_bilinear2d",
    "upsample_linear1d", "roll", "topk", "linspace", "eye", "one_hot", "constant_pad_nd", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "unfold", "broadcast_to", "view_copy", "_reshape_alias", "rand", "randn",
})  # fmt: skip

_SUBSCRIPTS = {"__getitem__": ("slice", "select", "index"), "__setitem__": ("slice", "select", "copy", "fill")}

_SCALARS = {8: ("<q", "<d"), 4: ("<f", "<i")}
"""How a constant of so many bytes may be read; its dtype stands in a pickle, which nobody needs to open for this."""

_MOST_RUNS = 24
_MOST_SUSPECTS = 12


def literals_of(path: Path, around: Sequence[NodeSeen], steps: Sequence[Step], traced: Mapping[str, int]) -> list[Suspect]:
    """Numbers in the code that may be a traced size, the likeliest first.

    Args:
        path: The file.
        around: The operations where the answer begins to be wrong; a number that may have been computed from a size only counts there.
        steps: The operations of the model that the file does otherwise; the first is looked for in the code, too.
        traced: The traced sizes of the symbols that moved.
    """
    wrong = {node.operator.rpartition(":")[2].rstrip("_") for node in around}
    wrong.update(call for step in steps[:1] for call in _SUBSCRIPTS.get(step.name, (step.name,)))
    ranked = []
    scalar = next(iter(around), NodeSeen("", "", "", (), ())).operator
    found = [(name, *one) for name, code in _code(path).items() for one in _numbers(code)]
    found += [(name, place, "", number) for name, place, number in _scalars(path)]
    for name, place, call, number in found:
        node = NodeSeen(name, f"aten::{call}" if call else scalar, "", (), (name,))
        for symbol, old in traced.items():
            if old < 2:
                continue
            shaping, here = call in _SHAPING, call in wrong
            if number == old:
                tier = 0 if shaping else 1
                ranked.append((tier + (0 if here else 2), Suspect(node, place, symbol, old, number, tier, (), 0, int)))
            elif here or name.startswith(_CONSTANTS):
                for tier, rule in computed_from(number, old):
                    ranked.append((3 + tier, Suspect(node, place, symbol, old, number, tier, (), 0, rule)))
    return [suspect for _, suspect in sorted(ranked, key=lambda pair: pair[0])[:_MOST_SUSPECTS]]


def _code(path: Path) -> dict[str, str]:
    """The source files of the archive, by name below its root."""
    with zipfile.ZipFile(path) as archive:
        return {
            name.partition("/")[2]: archive.read(name).decode()
            for name in archive.namelist()
            if name.partition("/")[2].startswith("code/") and name.endswith(".py")
        }


def _scalars(path: Path) -> Iterator[tuple[str, int, int | float]]:
    """The constants of one number beside the code: their record, how they are read, the number."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.partition("/")[2]
            if name.startswith(_CONSTANTS) and info.file_size in _SCALARS:
                content = archive.read(info)
                for place, kind in enumerate(_SCALARS[info.file_size]):
                    (number,) = struct.unpack(kind, content)
                    if 1e-4 < abs(number) < 1e6:
                        yield name, place, number


def _numbers(code: str) -> Iterator[tuple[int, str, int | float]]:
    """Every number in the code: where it stands, the innermost function of torch that it is given to, itself."""
    open_calls: list[str] = []
    for found in _TOKEN.finditer(code):
        text = found[0]
        if text.endswith("("):
            open_calls.append(found[1] or "")
        elif text == ")":
            open_calls = open_calls[:-1]
        elif not text.startswith(('"', "'")):
            call = next((name for name in reversed(open_calls) if name), "")
            yield found.start(), call, float(text) if "." in text else int(text)


class LiteralTrial(Trial):
    """A TorchScript file with other numbers in its code, opened in the process that proved it; `close` brings back the file itself."""

    def __init__(self, session: TorchFileSession, path: Path, cases: Sequence[FailingCase], right: Right) -> None:
        super().__init__(cases, right, _MOST_RUNS)
        self._session = session
        self._path = path
        self._folder = tempfile.TemporaryDirectory(prefix="torchport-")

    def answer(self, suspects: Sequence[Suspect], case: FailingCase) -> Mapping[str, Array] | None:
        """The outputs with these put right."""

        def edit(records: dict[str, bytes]) -> dict[str, bytes]:
            edited = dict(records)
            for one in suspects:
                if one.node.name.startswith(_CONSTANTS):
                    kind = _SCALARS[len(records[one.node.name])][one.place]
                    edited[one.node.name] = struct.pack(kind, one.mend(np.array(one.value), case.sizes).item())
            for name in {one.node.name for one in suspects if not one.node.name.startswith(_CONSTANTS)}:
                code = records[name].decode()
                for one in sorted((one for one in suspects if one.node.name == name), key=lambda one: -one.place):
                    found = _NUMBER.match(code, one.place)
                    assert found is not None
                    number = one.mend(np.array(one.value), case.sizes)
                    code = f"{code[: found.start()]}{number.item()!r}{code[found.end() :]}"
                edited[name] = code.encode()
            return edited

        mended = Path(self._folder.name) / f"mended{self._path.suffix}"
        changed = {one.node.name for one in suspects}
        rewrite(self._path, mended, is_small=changed.__contains__, edit=edit)
        try:
            opened = self._session.successor([mended])
            return None if opened is None else opened.run(case.inputs)
        except RuntimeFailure:
            return None

    def close(self) -> None:
        """Opens the file itself again."""
        try:
            self._session.successor([self._path])
        finally:
            self._folder.cleanup()
