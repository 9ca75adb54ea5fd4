"""Reads the documentation's pages: their Python examples, what they promise to print, their links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_FENCE = re.compile(r"(?P<indent> *)```(?P<language>\w*)\s*$")
_MARK = re.compile(r"<!--\s*(?P<mark>not run|printed|file|exits)(?::\s*(?P<reason>.*?))?\s*-->")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        language: What stands after the fence.
        line: The number of its first line.
        lines: Its lines.
        mark: ``not run``, ``printed``, ``file``, ``exits`` or ``""``: the comment right before it.
        reason: What the comment says.
    """

    language: str
    line: int
    lines: tuple[str, ...]
    mark: str = ""
    reason: str = ""


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    mark = reason = ""
    inside: re.Match[str] | None = None
    kept: list[str] = []
    start = 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if inside is None and fence is not None:
            inside, kept, start = fence, [], number + 1
        elif inside is not None and fence is not None and not fence["language"]:
            yield Block(inside["language"], start, tuple(kept), mark, reason)
            inside, mark, reason = None, "", ""
        elif inside is not None:
            kept.append(line.removeprefix(inside["indent"]))
        elif line.strip():
            found = _MARK.search(line)
            mark, reason = (found["mark"], found["reason"] or "") if found else ("", "")


def program(page: Path) -> str:
    """The page's Python examples as one module whose line numbers are the page's own."""
    lines: list[str] = []
    for block in blocks(page):
        if block.language != "python" or block.mark in ("not run", "file"):
            continue
        lines.extend([""] * (block.line - 1 - len(lines)))
        lines.extend(block.lines)
    return "\n".join(lines) + "\n"


def links(page: Path) -> list[str]:
    """The targets of the page's links and pictures, those in fenced blocks left out."""
    text = re.sub(r"^ *```.*?^ *```\s*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    return [one.split(" ")[0] for one in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)]


def anchors(page: Path) -> set[str]:
    """The anchors that the page's headings make."""
    text = re.sub(r"^ *```.*?^ *```\s*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
        found.add(kept.strip().replace(" ", "-"))
    return found
