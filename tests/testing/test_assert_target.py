"""Authors of targets assert what is promised; whatever is not kept is named."""

import shutil

import pytest

from torchport.errors import ExtensionError, PackageError, UnknownNameError
from torchport.packaging import BundleTarget, Target, targets
from torchport.testing import assert_target


@pytest.mark.parametrize("name", ["bundle", "onnxruntime", "riva", "triton"])
def test_the_registered_targets_keep_them(name):
    assert name in targets
    assert_target(name)


def test_every_registered_target_is_tested_here():
    assert set(targets) == {"bundle", "onnxruntime", "riva", "triton"}
    with pytest.raises(UnknownNameError):
        assert_target("bundel")


class Sound(Target):
    """A file and a mark."""

    name = "sound"

    def is_ours(self, directory):
        return (directory / "mark").is_file()

    def _write(self, parts, stage, order):
        self.copy_artifact(parts[0], stage)
        (stage / "mark").write_text("mine")
        return ()


class Refuses(Sound):
    def _write(self, parts, stage, order):
        raise PackageError("no such model")


class Empty(Sound):
    def _write(self, parts, stage, order):
        return ()


class KnowsNothing(Sound):
    def is_ours(self, directory):
        return False


class TakesAll(Sound):
    def is_ours(self, directory):
        return True


class Leaks(Sound):
    def _write(self, parts, stage, order):
        (stage / "where").write_text(str(parts[0].artifact.path))
        return super()._write(parts, stage, order)


class Unsteady(Sound):
    count = 0

    def _write(self, parts, stage, order):
        type(self).count += 1
        (stage / "count").write_text(str(self.count))
        return super()._write(parts, stage, order)


class Litters(Sound):
    def _write(self, parts, stage, order):
        (order.directory.parent / "log.txt").write_text("packaging")
        return super()._write(parts, stage, order)


class Trusting(Sound):
    def _write(self, parts, stage, order):
        shutil.copyfile(parts[0].artifact.path, stage / "m.onnx")
        (stage / "mark").write_text("mine")
        return ()


class Inexact(Sound):
    """Says of what is there already only that something went wrong."""

    def _placed(self, parts, order):
        if order.directory.exists():
            raise PackageError("something is there")
        return super()._placed(parts, order)


class Once(Sound):
    def _write(self, parts, stage, order):
        if order.overwrite:
            raise PackageError("only once")
        return super()._write(parts, stage, order)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Refuses, "a tiny model cannot be packaged"),
        (Empty, "a package holds files"),
        (KnowsNothing, "is_ours knows its own package"),
        (TakesAll, "is_ours knows a stranger's folder"),
        (Leaks, "no path of this machine is in the package"),
        (Unsteady, "the same export gives the same bytes"),
        (Litters, "nothing is left beside the package"),
        (Trusting, "an artifact that was changed since its export is refused"),
        (Inexact, "what is there already is refused as such"),
        (Once, "an older package cannot be replaced on request"),
    ],
)
def test_a_promise_that_is_not_kept_is_named(target, said):
    targets.add("broken", target())
    try:
        with pytest.raises(ExtensionError) as caught:
            assert_target("broken")
        assert said in str(caught.value)
    finally:
        targets.remove("broken")


def test_a_sound_target_keeps_them_all():
    targets.add("sound", Sound())
    try:
        assert_target("sound")
    finally:
        targets.remove("sound")
    assert BundleTarget().can_be_signed
