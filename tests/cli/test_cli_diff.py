"""``torchport inspect --lock`` and ``torchport diff`` in process: files, exit codes, what is shown."""

import json

import pytest
import torch


@pytest.fixture
def made(torchport_cli):
    """``old.onnx`` and its lock, and ``new.onnx``, whose input takes any size where it took one."""
    words = ("--no-verify", "--output-type", "y=batch 3 time")
    assert (
        torchport_cli("export", "toys.py:Scale", "-o", "old.onnx", "--input-type", "x=batch 4 time{max=9},float32", *words).exit_code == 0
    )
    assert torchport_cli("export", "toys.py:Scale", "-o", "new.onnx", "--input-type", "x=batch 4 time,float32", *words).exit_code == 0
    assert torchport_cli("inspect", "old.onnx", "--lock", "m.contract.json").exit_code == 0


@pytest.mark.usefixtures("made")
def test_inspect_writes_a_lock_and_says_so(torchport_cli, folder):
    lock = json.loads((folder / "m.contract.json").read_text())
    assert lock["torchport_contract"] == 1
    result = torchport_cli("inspect", "old.onnx", "--lock", "m.contract.json", "--json")
    assert result.document["lock"] == "m.contract.json"
    assert result.document["content_digests"] == lock["digests"]
    text = torchport_cli("inspect", "old.onnx").stdout
    assert lock["digests"]["weights"] in text
    assert lock["digests"]["graph"] in text


@pytest.mark.usefixtures("made")
def test_another_lock_is_replaced_on_request_only(torchport_cli, folder):
    before = (folder / "m.contract.json").read_bytes()
    assert torchport_cli("inspect", "new.onnx", "--lock", "m.contract.json").exit_code == 2
    assert (folder / "m.contract.json").read_bytes() == before
    assert torchport_cli("inspect", "new.onnx", "--lock", "m.contract.json", "--overwrite").exit_code == 0
    assert (folder / "m.contract.json").read_bytes() != before


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("before", "after", "words", "code"),
    [
        ("m.contract.json", "old.onnx", (), 0),
        ("m.contract.json", "old.onnx", ("--fail-on", "cosmetic"), 0),
        ("m.contract.json", "new.onnx", (), 0),
        ("m.contract.json", "new.onnx", ("--fail-on", "widening"), 5),
        ("m.contract.json", "new.onnx", ("--fail-on", "widening", "--allow", "input-range-widened"), 0),
        ("new.onnx", "m.contract.json", (), 4),
        ("new.onnx", "m.contract.json", ("--fail-on", "cosmetic"), 4),
        ("new.onnx", "m.contract.json", ("--fail-on", "never"), 0),
        ("new.onnx", "m.contract.json", ("--allow", "input-range-narrowed"), 0),
        ("new.onnx", "m.contract.json", ("--allow", "no-such-rule"), 2),
        ("missing.onnx", "old.onnx", (), 2),
        ("old.onnx", "toys.py", (), 2),
    ],
)
def test_the_exit_code_says_what_changed(torchport_cli, before, after, words, code):
    assert torchport_cli("diff", before, after, *words).exit_code == code


@pytest.mark.usefixtures("made")
def test_a_cosmetic_change_is_an_error_on_request_only(torchport_cli, folder):
    lock = json.loads((folder / "m.contract.json").read_text())
    (folder / "b.json").write_text(json.dumps({**lock, "model": "other.Name"}))
    assert torchport_cli("diff", "m.contract.json", "b.json").exit_code == 0
    assert torchport_cli("diff", "m.contract.json", "b.json", "--fail-on", "widening").exit_code == 0
    assert torchport_cli("diff", "m.contract.json", "b.json", "--fail-on", "cosmetic").exit_code == 6


@pytest.mark.usefixtures("made")
def test_the_changes_are_shown_and_are_a_document(torchport_cli):
    text = torchport_cli("diff", "new.onnx", "m.contract.json").stdout
    for part in ("breaking", "input-range-narrowed", "input x, axis 2", "time: 1 or more", "time: 1 to 9", "refused now"):
        assert part in text
    result = torchport_cli("diff", "new.onnx", "m.contract.json", "--json")
    assert result.exit_code == 4
    document = result.document
    assert (document["a"], document["b"], document["verdict"]) == ("new.onnx", "m.contract.json", "breaking")
    assert [change["rule"] for change in document["changes"] if change["grade"] == "breaking"] == ["input-range-narrowed"]
    allowed = torchport_cli("diff", "new.onnx", "m.contract.json", "--json", "--allow", "input-range-narrowed").document
    assert allowed["verdict"] == "same"
    assert [change["rule"] for change in allowed["allowed"]] == ["input-range-narrowed"]


@pytest.mark.usefixtures("made")
def test_a_name_of_a_file_does_not_steer_the_terminal(torchport_cli, folder):
    lock = json.loads((folder / "m.contract.json").read_text())
    (folder / "b.json").write_text(json.dumps({**lock, "model": "\x1b[31mred [bold]\ud800"}))
    result = torchport_cli("diff", "m.contract.json", "b.json")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert r"\x1b[31mred [bold]\ud800" in result.stdout
    assert torchport_cli("diff", "m.contract.json", "b.json", "--json").document["changes"][0]["after"].startswith("\x1b")


@pytest.mark.usefixtures("folder")
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_inspect_says_why_there_are_no_digests(torchport_cli, monkeypatch):
    from torchport.emit.torchscript import TorchScript

    def broken(self, path):
        raise ValueError("laid out in another way")

    monkeypatch.setattr(TorchScript, "read_content", broken)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "m.pt")
    result = torchport_cli("inspect", "m.pt", "--json")
    assert result.exit_code == 0
    assert result.document["content_digests"] is None
    assert "laid out in another way" in " ".join(result.document["notes"])
