"""What robustness costs: every digit of scikit-learn's, ten corruptions, five severities, in under a minute on two cores."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatim.checks.answers import Study
from gradatim.checks.corruption import Declared
from gradatim.checks.robustness import score_models
from gradatim.data import open_data
from gradatim.metrics.task import Task
from gradatim.models import batched, open_model
from gradatim.perturb.catalogue import SEVERITIES

PROJECT = Path(__file__).parents[2] / "templates" / "projects" / "digits"
TASK = Task("classification", labels=tuple(range(10)))
TEN = (
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "gaussian_blur", "defocus_blur", "brightness",
    "contrast", "pixelate", "jpeg_compression",
)  # fmt: skip
SECONDS = 60


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model beside all 1797 digits."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("digits")
    (folder / "weights").mkdir()
    for name in ("export.py", "weights/digits.npz"):
        (folder / name).write_bytes((PROJECT / name).read_bytes())
    subprocess.run([sys.executable, "export.py"], cwd=folder, check=True, capture_output=True)
    found = load_digits()
    np.savez(folder / "all.npz", image=(found.images / 16).astype(np.float32)[:, None], label=found.target)
    return folder


def scores(
    folder: Path, corruptions: tuple[str, ...], batch: int, threads: int, most: int = 2000
) -> dict[str, NDArray[np.float32]]:
    """Right or wrong, [n, severities], by corruption."""
    with open_model(folder / "model/digits.onnx", root=folder, threads=threads) as predictor:
        study = Study(
            lambda name, signature: open_data(
                "all.npz", root=folder, signature=signature, labels=TASK.labels
            ),
            lambda name: TASK,
            corruptions,
            most=most,
            batch=batch,
            declared=Declared("image", 0.0, 1.0),
        )
        found = score_models({"original": batched(predictor)}, study)
    assert not found.checks
    return dict(found.scores["original"].corrupted)


def test_ten_corruptions_of_1797_digits_take_less_than_a_minute(project: Path) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    found = scores(project, TEN, 32, 2)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    answers = sum(part.size for part in found.values())
    print(f"\n  {answers} answers under corruption: {wall:.1f} s, {cpu:.1f} s of processor time")
    assert answers == 1797 * len(TEN) * len(SEVERITIES)
    assert cpu < SECONDS


def test_scores_are_the_same_for_any_batch_size_number_of_threads_and_of_processes(project: Path) -> None:
    one = scores(project, TEN, 32, 1, most=300)
    for batch, threads in ((1, 1), (7, 2), (300, 2)):
        other = scores(project, TEN, batch, threads, most=300)
        assert all(np.array_equal(one[name], other[name]) for name in TEN), (batch, threads)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        apart = list(
            pool.map(scores, [project] * 10, [(name,) for name in TEN], [32] * 10, [1] * 10, [300] * 10)
        )
    for name, part in zip(TEN, apart, strict=True):
        assert np.array_equal(one[name], part[name])
