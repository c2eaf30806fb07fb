"""``pytest --gradatim``: the candidate and the release that it would replace, as fixtures.

Without the option nothing is registered and nothing is imported, so that other people's tests are not disturbed. With
it there are the fixtures ``model``, ``baseline`` and ``dataset``; see :mod:`gradatim.commands.pytest_fixtures`.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gradatim", "test a model that gradatim releases")
    group.addoption(
        "--gradatim",
        action="store_true",
        default=False,
        help="give the fixtures `model`, `baseline` and `dataset` of the contract gradatim.yml",
    )
    group.addoption(
        "--gradatim-contract",
        metavar="PATH",
        default=None,
        help="the same, with another contract than gradatim.yml here or above",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--gradatim") or config.getoption("--gradatim-contract"):
        from gradatim.commands import pytest_fixtures

        config.pluginmanager.register(pytest_fixtures, "gradatim-fixtures")
