"""One export and one bundle of it for all tests of packaging and checking; each test tampers with a copy."""

import shutil
from pathlib import Path

import pytest
from bundle_makers import Twins

import torchport


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The result of an export; its file stays where it is."""
    return torchport.export(Twins(), tmp_path_factory.mktemp("exported") / "twins.onnx")


@pytest.fixture(scope="session")
def original(exported, tmp_path_factory):
    """A bundle that nobody touches."""
    place = tmp_path_factory.mktemp("bundles") / "twins.bundle"
    exported.package(place)
    return place


@pytest.fixture
def bundle(original, tmp_path):
    """A bundle to tamper with."""
    return Path(shutil.copytree(original, tmp_path / "twins.bundle"))
