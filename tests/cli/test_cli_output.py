"""Where a command's words go: results, errors and progress."""

import io
import json
import sys

import pytest
import typer

from torchport.cli._common import ranges_text
from torchport.cli._output import Output, table
from torchport.errors import OptionError


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_the_stage_at_hand(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Output().progress("Exporting [m]") as on_stage:
        on_stage("capture [trace]")
    assert "Exporting [m]: capture [trace]" in screen.getvalue()


def test_a_pipe_sees_no_progress(capsys):
    with Output().progress("Exporting") as on_stage:
        on_stage("capture")
    assert capsys.readouterr() == ("", "")


def test_lines_are_for_verbose(capsys):
    with Output().progress("Exporting", verbose=True) as on_stage:
        on_stage("capture")
    assert capsys.readouterr().err == "torchport: capture\n"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (typer.Abort(), 1), (OptionError("no [good]"), 2), (RuntimeError("odd"), 1)]
)
def test_every_end_has_its_exit_code_and_its_words(capsys, error, code, as_json):
    def command():
        raise error

    assert Output(as_json=as_json).run(command) == code
    out, err = capsys.readouterr()
    if as_json:
        assert json.loads(out)["exit_code"] == code
        assert err == ""
    else:
        assert out == ""
        assert err.startswith(("error interrupted", "error aborted", "error declare: no [good]", "error unexpected RuntimeError: odd"))


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_that_typer_made_an_exit_code_of_is_told_too(capsys, as_json):
    assert Output(as_json=as_json).run(lambda: 130) == 130
    out, err = capsys.readouterr()
    assert err == ("" if as_json else "error interrupted\n")
    assert not as_json or json.loads(out)["error"]["message"] == "interrupted"


def test_a_reader_that_went_away_is_no_error(capsys, monkeypatch):
    monkeypatch.setattr("torchport.cli._output._nobody_reads", lambda: None)

    def command():
        raise BrokenPipeError

    assert Output().run(command) == 1
    assert capsys.readouterr() == ("", "")


def test_numbers_that_json_does_not_have_are_null(capsys):
    output = Output(as_json=True)
    assert output.run(lambda: output.result({"worst": [float("nan"), (1.5, float("inf"))]})) == 0
    assert json.loads(capsys.readouterr().out) == {"worst": [None, [1.5, None]]}


def test_cells_are_no_markup(capsys):
    Output().result(None, table("a [b]", ("c",), [("[red]d",), (None,)]))
    text = capsys.readouterr().out
    assert "a [b]" in text
    assert "[red]d" in text


def test_ranges_in_words():
    assert ranges_text({"time": (9, 5000), "batch": (2, None)}) == "time: 9 to 5000; batch: 2 or more"
