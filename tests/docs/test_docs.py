"""The documentation is true: its examples run, print what it says, and its links lead somewhere."""

import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from _pages import PAGES, ROOT, anchors, blocks, links, program

RUNNABLE = [page for page in PAGES if program(page).strip()]


def name_of(page):
    return str(page.relative_to(ROOT))


def forgiving(text):
    """Text without its numbers and its spacing: another machine rounds otherwise, times differ, columns move."""
    text = text.replace("docs_readme.", "__main__.")
    text = re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", text)
    return re.sub(r"[\s─━-]+", " ", re.sub(r"-(?=#)", "", text)).strip()


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_the_examples_of_a_page_run_and_print_what_it_says(page, tmp_path, monkeypatch, capsys):
    module_name = "docs_" + re.sub(r"\W", "_", name_of(page).removeprefix("docs/").removesuffix(".md")).lower()
    source = tmp_path / f"{module_name}.py"
    source.write_text(program(page), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    spec = importlib.util.spec_from_file_location(module_name, source)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module_name, module)
    spec.loader.exec_module(module)
    printed = forgiving(capsys.readouterr().out)
    for block in blocks(page):
        if block.mark == "printed":
            place = 0
            for part in "\n".join(block.lines).split("\n…\n"):
                found = printed.find(forgiving(part), place)
                assert found >= 0, f"{name_of(page)}:{block.line} is not what was printed: {part}\n{printed}"
                place = found


@pytest.mark.parametrize("page", ["cli.md", "contract-lock.md"])
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    from torchport.cli import app

    page = ROOT / "docs" / page
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "softmax.yaml").write_text("dim: 1\n")
    for block in blocks(page):
        if block.mark == "file":
            monkeypatch.setitem(sys.modules, Path(block.reason).stem, None)
            monkeypatch.delitem(sys.modules, Path(block.reason).stem)
            (tmp_path / block.reason).write_text("\n".join(block.lines) + "\n")
        elif block.language == "console":
            for line in block.lines:
                words = shlex.split(line.removeprefix("$ "))
                assert words[0] == "torchport", line
                code = app(words[1:], standalone_mode=False)
                expected = int(block.reason) if block.mark == "exits" and line == block.lines[-1] else 0
                assert code == expected, f"{line}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page):
    for target in links(page):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name_of(page)}: {target}"
        assert found.is_relative_to(ROOT), f"{name_of(page)}: {target} leads out of the project"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{name_of(page)}: there is no heading for {target}"


def test_every_example_that_is_not_run_says_why():
    for page in PAGES:
        for block in blocks(page):
            if block.mark == "not run":
                assert block.reason, f"{name_of(page)}:{block.line}"


def test_every_page_is_linked_from_another_one():
    linked = {(page.parent / target.partition("#")[0]).resolve() for page in PAGES for target in links(page) if "://" not in target}
    for page in PAGES:
        assert page in linked or page.parent == ROOT, name_of(page)


@pytest.mark.parametrize("path", sorted(set(ROOT.glob("examples/*.py")) - {ROOT / "examples" / "demo.py"}), ids=lambda path: path.name)
def test_the_examples_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path)])
    runpy.run_path(str(path), run_name="__main__")
    assert "proved at" in capsys.readouterr().out
