"""The fixtures of ``pytest --gradatim``, all of session scope.

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

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gradatim.checks.user_tests import BASELINE_VARIABLE, DEVICE_VARIABLE, MODEL_VARIABLE
from gradatim.errors import BrokenEvidence, GradatimError

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.data import Dataset
    from gradatim.models import Predictor


@pytest.fixture(scope="session")
def gradatim_release(pytestconfig: pytest.Config) -> Candidate:
    """The release that the contract describes, as far as this checkout knows it."""
    from gradatim import ci
    from gradatim.candidate.candidate import Candidate
    from gradatim.contract.reading import find_contract, read_contract

    with _in_words():
        contract = read_contract(find_contract(pytestconfig.getoption("--gradatim-contract")))
        device = os.environ.get(DEVICE_VARIABLE)
        return Candidate(contract.on(device) if device else contract, ci.detect())


@pytest.fixture(scope="session")
def model(gradatim_release: Candidate) -> Iterator[Predictor]:
    """The candidate."""
    with _in_words():
        predictor = gradatim_release.model.open(_model_path(gradatim_release))
    with predictor:
        yield predictor


@pytest.fixture(scope="session")
def baseline(gradatim_release: Candidate) -> Iterator[Predictor]:
    """The release that the candidate would replace."""
    with _in_words():
        path = _baseline_path(gradatim_release)
        predictor = gradatim_release.replaced.model.open(path) if path is not None else None
    if predictor is None:
        pytest.skip("nothing was released before")
    with predictor:
        yield predictor


@pytest.fixture(scope="session")
def dataset(gradatim_release: Candidate, model: Predictor) -> Dataset:
    """The evaluation data, as the candidate takes them."""
    with _in_words():
        return gradatim_release.rows.dataset("evaluation", model.signature)


def _model_path(candidate: Candidate) -> Path:
    if named := os.environ.get(MODEL_VARIABLE):
        return Path(named)
    try:
        return candidate.forms.all[0].path
    except BrokenEvidence:  # not compressed yet
        return candidate.model.path


def _baseline_path(candidate: Candidate) -> Path | None:
    named = os.environ.get(BASELINE_VARIABLE)
    if named is not None:
        return Path(named) if named else None
    return candidate.replaced.path


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """A refusal fails the test with its paragraph alone: the traceback would be gradatim's, not the user's."""
    refusal = None
    try:
        yield
    except GradatimError as error:
        refusal = str(error)
    if refusal:
        pytest.fail(refusal, pytrace=False)
