"""``pytest --gradatim``: the candidate and the release that it would replace, as fixtures.

Without the option nothing is registered and nothing is imported, so that other people's tests are not disturbed. With
it, three fixtures of session scope:

``model``
    the candidate as something to call: ``model({"image": array}) -> {"probabilities": array}``. Its form is the one
    that compress prefers, the model as built where nothing was compressed, or what the environment variable
    ``GRADATIM_MODEL`` names (a file or a folder).
``baseline``
    the release that it would replace, in the same way; a test that asks for it is skipped when nothing was released
    before. ``GRADATIM_BASELINE`` names another; empty means that there is none.
``dataset``
    the evaluation data: ``dataset.head(32).inputs`` feeds the model, ``.labels`` are the truth.

The contract is ``gradatim.yml`` here or above, or what ``--gradatim-contract`` names.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from gradatim.data import Dataset
    from gradatim.models import Predictor
    from gradatim.release import Release


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
        help="the contract, when it is not gradatim.yml here or above",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--gradatim") or config.getoption("--gradatim-contract"):
        config.pluginmanager.register(_Fixtures(config), "gradatim-fixtures")


class _Fixtures:
    """The fixtures, known to pytest only when they are wanted."""

    def __init__(self, config: pytest.Config) -> None:
        self._contract: str | None = config.getoption("--gradatim-contract")

    @pytest.fixture(scope="session")
    def model(self) -> Iterator[Predictor]:
        """The candidate."""
        yield from self._opened(self._model_path())

    @pytest.fixture(scope="session")
    def baseline(self) -> Iterator[Predictor]:
        """The release that the candidate would replace."""
        path = self._baseline_path()
        if path is None:
            pytest.skip("nothing was released before")
        yield from self._opened(path)

    @pytest.fixture(scope="session")
    def dataset(self, model: Predictor) -> Dataset:
        """The evaluation data, as the candidate takes it."""
        from gradatim.errors import GradatimError

        try:
            return self._release.dataset("evaluation", model.signature)
        except GradatimError as error:
            pytest.fail(str(error), pytrace=False)

    @cached_property
    def _release(self) -> Release:
        from gradatim import ci
        from gradatim.contract.reading import find_contract, read_contract
        from gradatim.errors import GradatimError
        from gradatim.progress import Silent
        from gradatim.release import Release
        from gradatim.workspace import Workspace

        try:
            contract = read_contract(find_contract(self._contract))
        except GradatimError as error:
            pytest.fail(str(error), pytrace=False)
        return Release(contract, Workspace(contract.root), Silent(), ci.detect())

    def _model_path(self) -> Path:
        import os
        from pathlib import Path

        from gradatim.checks.user_tests import MODEL_VARIABLE
        from gradatim.errors import BrokenEvidence

        if named := os.environ.get(MODEL_VARIABLE):
            return Path(named)
        try:
            return self._release.variants()[0].path
        except BrokenEvidence:  # not compressed yet
            return self._release.model_path

    def _baseline_path(self) -> Path | None:
        import os
        from pathlib import Path

        from gradatim.checks.user_tests import BASELINE_VARIABLE
        from gradatim.errors import GradatimError

        named = os.environ.get(BASELINE_VARIABLE)
        if named is not None:
            return Path(named) if named else None
        try:
            return self._release.baseline_path()
        except GradatimError as error:
            pytest.fail(str(error), pytrace=False)

    def _opened(self, path: Path) -> Iterator[Predictor]:
        from gradatim.errors import GradatimError

        try:
            predictor = self._release.open(path)
        except GradatimError as error:
            pytest.fail(str(error), pytrace=False)
        with predictor:
            yield predictor
