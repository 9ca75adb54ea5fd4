"""Arguments in messages are spelled as the shell spells them."""

import pytest
import typer

from torchport.cli import app
from torchport.cli._spelling import spelling_of

COMMANDS = typer.main.get_command(app).commands
SPELLING = spelling_of(COMMANDS, ["export"])


@pytest.mark.parametrize(
    ("said", "spelled"),
    [
        ("overwrite=True replaces it", "--overwrite replaces it"),
        ("NOT PROVED (verify=False)", "NOT PROVED (--no-verify)"),
        ("export it with export_params=True", "export it with --export-params"),
        ("or let strategy='trace' write 13", "or let --strategy trace write 13"),
        ("trust='a b.Net'", '--trust "a b.Net"'),
        ("say it: subnet=…", "say it: --subnet …"),
        ("check_trace=[example, …]", "--check-trace [FILE…]"),
        ("weights_key='model' or weights_key='ema'", "--weights-key model or --weights-key ema"),
        (
            'pass input_example=(tensor, …) (--input-example FILE), or input_types={"x": "batch 80"} (--input-type "x=batch 80")',
            'pass --input-example FILE, or --input-type "x=batch 80"',
        ),
        ("""declare it, too: input_types['y'] (--input-type "y=batch")""", 'declare it, too: --input-type "y=batch"'),
        ("dynamic_axes={'x': [0]}", "--dynamic-axes NAME=AXIS[:SYMBOL],…"),
        ("another model name: options={'name': …}", "another model name: --package-set name=…"),
        ("options={'max_batch_size': 8, 'name': 'm'}", "--package-set KEY=VALUE"),
        ("then result.package(…, target='triton')", "then result.package(…, target='triton')"),
        ("allow_ties=False takes no tie", "no --allow-ties takes no tie"),
        ("names as forward(x, y=None) has them", "names as forward(x, y=None) has them"),
        ("min=2 for x, --set names=index, fn(overwrite=True), seed=None", "min=2 for x, --set names=index, fn(overwrite=True), seed=None"),
        ("the model's overwrite, strategy and input_types", "the model's overwrite, strategy and input_types"),
    ],
)
def test_arguments_become_options(said, spelled):
    assert SPELLING(said) == spelled


def test_every_option_of_export_has_a_spelling():
    for one in COMMANDS["export"].params:
        if one.param_type_name == "option":
            value = "True" if one.is_flag else "'a'"
            assert SPELLING(f"{one.name}={value}").startswith(one.opts[0])
            assert SPELLING.name(one.name) == one.opts[0]


def test_the_command_at_hand_has_the_first_word():
    assert spelling_of(COMMANDS, ["request"]).name("expected") == "--expected"
    assert spelling_of(COMMANDS, ["request", "m"])("inputs='a.npz'") == "--input a.npz"
    assert spelling_of(COMMANDS, []).name("nothing") == "nothing"
    assert SPELLING.name("input_types['mel']") == "--input-type mel"
    assert SPELLING.name("elsewhere['mel']") == "elsewhere['mel']"


def test_errors_notes_and_documents_are_spelled_so(torchport_cli, folder):
    words = ("export", "toys.py:Scale", "-o", "m.onnx", "--no-verify")
    assert "NOT PROVED (--no-verify)" in torchport_cli(*words).stdout
    result = torchport_cli(*words, "--power", "--overwrite")
    assert "power is that of the proof, which --no-verify leaves out\n  where: --power" in result.stderr
    (folder / "m.json").write_text("{}")
    document = torchport_cli("inspect", "m.onnx", "--lock", "m.json", "--json").document
    assert document["error"]["hint"] == "--overwrite replaces it, or choose another path"


def test_a_proof_is_a_few_lines_and_every_case_on_request(torchport_cli):
    words = ("export", "toys.py:Scale", "-o", "m.onnx", "--overwrite")
    brief = torchport_cli(*words).stdout
    for part in ("onnxruntime, against the untouched model", "sizes, zeros, negative", "batch 1 to", "allowed, at", "--verbose shows it"):
        assert part in brief
    assert "Proved in" not in brief
    assert torchport_cli(*words, "--verbose").stdout.count("│") > brief.count("│") + 20
    again = torchport_cli("verify", "m.onnx", "toys.py:Scale")
    assert "--verbose shows it" in again.stdout
    assert "Proved in onnxruntime" in torchport_cli("verify", "m.onnx", "toys.py:Scale", "-v").stdout


def test_an_archive_with_another_name_is_known_for_one(torchport_cli, folder):
    import torchport

    torchport.ModelPT({"width": 1}).save_to(folder / "new" / "net")
    result = torchport_cli("export", "new/net", "-o", "m.onnx")
    assert result.exit_code == 2
    assert "an archive's name ends in .nemo: rename it" in result.stderr
    (folder / "notes.txt").write_text("")
    assert "a file of no kind that is known" in torchport_cli("export", "notes.txt", "-o", "m.onnx").stderr
