"""The pytest plugin: ``pytest --exportables=package`` makes every exportable class of a package a test.

pytest loads this at every start, whatever is tested: nothing heavy may be imported here, and without the option nothing happens.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from torchport.testing import _hookspecs

if TYPE_CHECKING:
    from collections.abc import Callable

_MARKER = "exportable: made by --exportables, a class of a package that must export"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, and where snapshots are in the ini file."""
    group = parser.getgroup("torchport", "exportable models (torchport)")
    group.addoption(
        "--exportables",
        action="append",
        default=[],
        metavar="PACKAGE[,…]",
        help="every exportable class of these packages becomes a test: names that can be imported, or paths",
    )
    group.addoption(
        "--exportables-formats", default="onnx,ts", metavar="FORMAT[,…]", help="the formats of --exportables (default: onnx,ts)"
    )
    group.addoption(
        "--contracts", default=None, metavar="FOLDER", help="hold every artifact of --exportables against its snapshot in this folder"
    )
    group.addoption("--update-contracts", action="store_true", help="write the snapshots of contracts instead of comparing with them")
    parser.addini("torchport_contracts", "the folder of --contracts, relative to this file")


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """``pytest_torchport_make``."""
    pluginmanager.add_hookspecs(_hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """The marker, for ``-m exportable``."""
    config.addinivalue_line("markers", _MARKER)


def _targets(config: pytest.Config) -> list[str]:
    return [one.strip() for value in config.getoption("--exportables") for one in value.split(",") if one.strip()]


def pytest_sessionstart(session: pytest.Session) -> None:
    """A package that is not there is a mistake in the command, before anything runs."""
    targets = _targets(session.config)
    if targets:
        from torchport.errors import TorchportError
        from torchport.testing._discovery import name_of_target

        try:
            for target in targets:
                name_of_target(target, session.config.invocation_params.dir)
        except TorchportError as error:
            raise pytest.UsageError(f"--exportables: {error}") from error


@pytest.hookimpl(tryfirst=True)  # before -k and -m select
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Adds the tests of ``--exportables``."""
    targets = _targets(config)
    if targets:
        from torchport.testing._items import collect

        items.extend(collect(session, targets, config.getoption("--exportables-formats")))


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Says which classes are left out, and why."""
    if not _targets(config):
        return []
    from torchport.testing._items import LEFT_OUT

    return [f"exportables: left out {one}" for one in config.stash.get(LEFT_OUT, [])]


@pytest.fixture
def assert_exportable(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`torchport.testing.assert_exportable`, with ``--update-contracts`` heeded and contracts relative to the test's own folder."""
    from torchport.testing import assert_exportable as asserting

    update = bool(request.config.getoption("--update-contracts"))

    def bound(model: Any, *args: Any, contract: Any = None, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        place = None if contract is None else Path(request.path).parent / contract
        return asserting(model, *args, contract=place, **{"update_contract": update, **kwargs})

    return bound
