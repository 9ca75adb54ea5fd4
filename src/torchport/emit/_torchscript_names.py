"""Renames TorchScript's classes so that a file does not depend on what the process compiled before.

PyTorch keeps one name table for the whole process: the second model of a class becomes ``__torch__.net.___torch_mangle_7.Net``. Here every
class gets its plain name back, and a number only where the file itself holds several of that name, counted in the order in which the
file's root refers to them.
"""

from __future__ import annotations

import pickletools
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping

__all__ = ["rename_classes"]

_MANGLE = re.compile(r"\.___torch_mangle_\d+")
_REFERENCE = re.compile(r"__torch__(?:\.\w+)+")
_CONSTANTS = re.compile(r"(?:^  \w+ : Final\[.*\n)+", re.MULTILINE)
_METHOD = re.compile(r"^( *)def [^\n]*(?:\n\1 {4}[^\n]*)*:[^\n]*\n(?:\1 +[^\n]*\n|\n)*", re.MULTILINE)
_TEMPORARY = re.compile(r"""(?<![\w."'])_(\d+)(?!\w)""")
_SIGNATURE = re.compile(r"[^)]*\)")
_TOP_LEVEL = re.compile(r"^(?:class|def) (\w+)", re.MULTILINE)


def rename_classes(records: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same records with canonical class names.

    Args:
        records: The archive's pickles and its ``code/*.py`` records, by name.

    Returns:
        All records; code files stand for other namespaces than before.
    """
    blocks: dict[str, str] = {}
    for name, content in records.items():
        if _is_code(name):
            blocks.update(_blocks(_namespace(name), content.decode()))
    pickles = {name: content for name, content in records.items() if name.endswith(".pkl")}
    new = _new_names(blocks, pickles)
    renamed = {name: content for name, content in records.items() if not _is_code(name)}
    for name, content in pickles.items():
        renamed[name] = _rename_pickle(content, new)
    files: dict[str, list[str]] = {}
    for old, name in new.items():
        space = name.rpartition(".")[0]
        files.setdefault(f"code/{space.replace('.', '/')}.py", []).append(_number(_sort_constants(_rename_text(blocks[old], new))))
    renamed.update({name: "".join(parts).encode() for name, parts in files.items()})
    return renamed


def _is_code(name: str) -> bool:
    return name.startswith("code/") and name.endswith(".py")


def _namespace(name: str) -> str:
    return name.removeprefix("code/").removesuffix(".py").replace("/", ".")


def _blocks(space: str, text: str) -> dict[str, str]:
    """The classes and functions of one code record, by qualified name."""
    starts = list(_TOP_LEVEL.finditer(text))
    ends = [*(match.start() for match in starts[1:]), len(text)][: len(starts)]  # the record of a class of torch's own is empty
    return {f"{space}.{match[1]}": text[match.start() : end] for match, end in zip(starts, ends, strict=True)}


def _new_names(blocks: Mapping[str, str], pickles: Mapping[str, bytes]) -> dict[str, str]:
    order: dict[str, None] = {}
    waiting = deque(
        name
        for content in (pickles[key] for key in sorted(pickles, key=lambda key: key != "data.pkl"))
        for name in _pickled(content, blocks)
    )
    while waiting or len(order) < len(blocks):
        name = waiting.popleft() if waiting else next(one for one in blocks if one not in order)
        if name not in order:
            order[name] = None
            waiting.extend(found for match in _REFERENCE.finditer(blocks[name]) if (found := _known(match[0], blocks)) is not None)
    counts: Counter[str] = Counter()
    new = {}
    for old in order:
        plain = _MANGLE.sub("", old)
        space, _, short = plain.rpartition(".")
        new[old] = plain if not counts[plain] else f"{space}.___torch_mangle_{counts[plain] - 1}.{short}"
        counts[plain] += 1
    return new


def _known(reference: str, names: Mapping[str, str]) -> str | None:
    """The class that a dotted reference begins with: what follows it is an attribute."""
    while reference not in names:
        reference, dot, _ = reference.rpartition(".")
        if not dot:
            return None
    return reference


def _pickled(content: bytes, names: Mapping[str, str]) -> Iterator[str]:
    for _, argument, _ in pickletools.genops(content):
        if isinstance(argument, str):
            for match in _REFERENCE.finditer(argument.replace(" ", ".")):
                found = _known(match[0], names)
                if found is not None:
                    yield found


def _rename_text(text: str, new: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        old = _known(match[0], new)
        return match[0] if old is None else new[old] + match[0][len(old) :]

    return _REFERENCE.sub(replace, text)


def _sort_constants(block: str) -> str:
    """A class's constants in the order of their names: PyTorch writes them in the order of a set, which is another in each process."""
    return _CONSTANTS.sub(lambda match: "".join(sorted(match[0].splitlines(keepends=True))), block)


def _number(block: str) -> str:
    """Numbers each method's own temporaries from 0: PyTorch counts on through all the classes that it happens to print together."""

    def renumbered(method: re.Match[str]) -> str:
        if _TEMPORARY.search(_SIGNATURE.match(method[0])[0]):  # type: ignore[index]  # it begins so
            return method[0]  # a parameter of such a name: callers know it by it
        numbers: dict[str, str] = {}
        return _TEMPORARY.sub(lambda found: numbers.setdefault(found[0], f"_{len(numbers)}"), method[0])

    return _METHOD.sub(renumbered, block)


def _rename_pickle(content: bytes, new: Mapping[str, str]) -> bytes:
    """Class names in a pickle stand in GLOBAL codes (two lines) and in strings (with their length before them)."""
    codes = list(pickletools.genops(content))
    ends = [*(position for _, _, position in codes[1:]), len(content)]
    parts = []
    for (code, argument, start), end in zip(codes, ends, strict=True):
        piece = content[start or 0 : end]
        if code.name == "GLOBAL" and isinstance(argument, str):
            space, _, short = _rename_text(argument.replace(" ", "."), new).rpartition(".")
            piece = b"c" + space.encode() + b"\n" + short.encode() + b"\n"
        elif code.name == "BINUNICODE" and isinstance(argument, str) and "__torch__" in argument:
            text = _rename_text(argument, new).encode()
            piece = b"X" + len(text).to_bytes(4, "little") + text
        parts.append(piece)
    return b"".join(parts)
