"""The page about packaging says what the code does: its exit codes, its kinds, the entries of its manifest."""

import sys

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from _pages import ROOT

from torchport.check import EXIT_CODES, MANIFEST_VERSION, manifest_schema

PAGE = (ROOT / "docs" / "packaging.md").read_text(encoding="utf-8")


def tables():
    """The rows of every table of the page, by its first title, without the head."""
    found, rows = {}, None
    for line in [*PAGE.splitlines(), ""]:
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            rows = None
        elif rows is None:
            rows = found.setdefault((cells[0], len(found)), [])
        elif set(cells[0]) != {"-"}:
            rows.append(cells)
    return {title: rows for (title, _), rows in found.items()} | {"all": list(found.values())}


def test_the_table_of_exit_codes_is_the_one_that_counts():
    listed = {cells[1].strip("`"): int(cells[0]) for cells in tables()["exit code"] if cells[1]}
    assert listed == EXIT_CODES
    assert ", ".join(EXIT_CODES) in " ".join(PAGE.split())


def test_the_tables_of_entries_are_the_schema():
    def names(rows):
        return {name.strip(" `") for cells in rows for name in cells[0].split(",")}

    _, top, artifact = tables()["all"]
    assert names(top) == set(manifest_schema()["properties"])
    assert names(artifact) == set(manifest_schema()["$defs"]["artifact"]["properties"])
    assert f"the version of the layout: {MANIFEST_VERSION}" in PAGE
