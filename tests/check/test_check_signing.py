"""Signatures: made with a key, checked with it, and no claim beyond that."""

import json

import pytest
from bundle_makers import append, rehash

import torchport
from torchport.check import EXIT_CODES, SIGNATURE, HmacSigner, Signer, check, signers
from torchport.check.__main__ import main
from torchport.errors import OptionError, UnknownNameError

KEY = bytes(range(32))


@pytest.fixture
def signed(exported, tmp_path):
    exported.package(tmp_path / "signed.bundle", signer=HmacSigner(KEY))
    (tmp_path / "bundle.key").write_bytes(KEY)
    return tmp_path / "signed.bundle"


def test_a_signed_bundle_holds_with_its_key(signed, tmp_path, capsys):
    assert main([str(signed), "--key", str(tmp_path / "bundle.key")]) == 0
    assert "not signed" not in capsys.readouterr().out
    assert "--key bundle.key" in (signed / "README.md").read_text()


def test_without_a_key_the_signature_is_not_looked_at_and_that_is_said(signed):
    report = check(signed)
    assert report.ok
    assert "the signature (hmac-sha256) was not checked: no key was given" in report.notes


def test_a_forger_without_the_key_is_found(signed):
    append(signed)
    rehash(signed)
    assert check(signed).ok
    report = check(signed, signer=HmacSigner(KEY))
    assert [problem.kind for problem in report.problems] == ["signature"]
    assert report.exit_code == EXIT_CODES["signature"]


def test_another_key_is_another_signature(signed):
    assert check(signed, signer=HmacSigner(KEY[::-1])).exit_code == EXIT_CODES["signature"]


def test_a_signature_that_was_taken_away_is_missed(signed, original):
    (signed / SIGNATURE).unlink()
    assert check(signed, signer=HmacSigner(KEY)).exit_code == EXIT_CODES["signature"]
    assert check(original, signer=HmacSigner(KEY)).exit_code == EXIT_CODES["signature"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"signer": "hmac-sha256"}', b'{"signer": 1, "signature": "x"}', b"\xff", b"[" * 9000])
def test_a_broken_signature_is_a_problem(signed, content):
    (signed / SIGNATURE).write_bytes(content)
    assert check(signed, signer=HmacSigner(KEY)).exit_code == EXIT_CODES["signature"]


@pytest.mark.parametrize("text", ["", "x", "\ud800", "é" * 64])
def test_a_signature_of_any_text_is_compared(text):
    assert not HmacSigner(KEY).verify(b"message", text)


def test_a_short_key_is_refused(tmp_path):
    with pytest.raises(OptionError, match="too short"):
        HmacSigner(b"secret")
    with pytest.raises(OptionError, match="cannot be read"):
        signers["hmac-sha256"](tmp_path / "nothing.key")
    with pytest.raises(UnknownNameError, match="unknown signer"):
        signers["none"]


class Stamp(Signer):
    """Signs like a rubber stamp: for the seam only."""

    name = "stamp"

    def sign(self, message):
        return f"stamped {len(message)}"

    def verify(self, message, signature):
        return signature == self.sign(message)


def test_another_kind_of_signer_takes_the_same_place(exported, tmp_path, signed):
    signers.add("stamp", lambda path: Stamp())
    try:
        torchport.package(exported, tmp_path / "stamped.bundle", signer=Stamp())
        assert main([str(tmp_path / "stamped.bundle"), "--key", "x", "--signer", "stamp"]) == 0
        assert json.loads((tmp_path / "stamped.bundle" / SIGNATURE).read_text())["signer"] == "stamp"
        report = check(signed, signer=Stamp())
        assert report.problems[0].message == "the signature is of another kind"
    finally:
        signers.remove("stamp")
