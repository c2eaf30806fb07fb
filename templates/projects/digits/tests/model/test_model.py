"""This project's own tests. gradatim runs them on the candidate and on each of its compressed variants.

`model` is the model under test and `baseline` the release that it would replace, None before the first one.
Both are called with a mapping of inputs and give a mapping of outputs.
"""

from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parents[2] / "data" / "calibration.npz"


@pytest.fixture(scope="module")
def images():
    with np.load(DATA) as data:
        return data["image"]


def read(model, images):
    """The digit that the model reads in each image."""
    return model({"image": images})["logits"].argmax(axis=1)


def test_an_empty_sheet_gives_finite_scores(model):
    blank = np.zeros((1, 1, 8, 8), np.float32)
    assert np.isfinite(model({"image": blank})["logits"]).all()


def test_a_slightly_fainter_pen_writes_the_same_digits(model, images):
    same = read(model, images) == read(model, images * np.float32(0.9))
    assert same.mean() >= 0.95


def test_every_digit_is_in_the_vocabulary(model, images):
    assert set(read(model, images)) == set(range(10))


def test_the_model_agrees_with_the_release_in_service(model, baseline, images):
    if baseline is None:
        pytest.skip("nothing has been released yet")
    assert (read(model, images) == read(baseline, images)).mean() >= 0.9
