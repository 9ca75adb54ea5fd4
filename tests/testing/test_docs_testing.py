"""The page about testing: its package, tested as it says, gives what it shows."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "docs"))
from _pages import blocks  # noqa: E402 - as the tests of the other pages do


def plain(line):
    return " ".join(re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", line.replace("-", "")).split())


def test_the_package_of_the_page_gives_what_the_page_shows(pytester, inner):
    shown = ()
    for block in blocks(ROOT / "docs" / "testing.md"):
        if block.mark == "file":
            path = pytester.path / block.reason
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(block.lines))
        elif block.language == "text" and block.lines[0].startswith("$ pytest"):
            shown = block.lines
    (pytester.path / "voices" / "__init__.py").touch()
    command = shown[0].split()[2:]
    result = inner(*command)
    result.assert_outcomes(passed=2, failed=1)
    printed = [plain(line) for line in result.outlines]
    place = 0
    for line in filter(str.strip, shown[1:]):
        found = [number for number, one in enumerate(printed[place:], start=place) if plain(line) in one]
        assert found, line
        place = found[0] + 1
