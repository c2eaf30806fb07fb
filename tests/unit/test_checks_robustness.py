"""Robustness: the same items, whatever the batch size and whoever is scored beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression

from gradatim.candidate.workspace import Workspace
from gradatim.checks.answers import Study
from gradatim.checks.corruption import Declared
from gradatim.checks.robustness import score_models
from gradatim.checks.robustness_scores import (
    ItemScores,
    Robustness,
    load_scores,
    losses_in_words,
    measurements,
    save_scores,
)
from gradatim.checks.sampled import sample
from gradatim.data import Dataset, open_data
from gradatim.errors import BrokenEvidence, UsageError
from gradatim.gates.case import CorruptionScores
from gradatim.gates.robustness import losses
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.models import Predictor, batched
from gradatim.models.predictor import RuntimeModel
from gradatim.signature import Signature, TensorSpec

Array = NDArray[Any]
THREE = ("gaussian_noise", "impulse_noise", "contrast")


def model(function: Callable[[Mapping[str, Array]], dict[str, Array]], *inputs: TensorSpec) -> Predictor:
    return batched(RuntimeModel("a model", Signature(inputs, ()), function, device="cpu", threads=1))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    x, y = load_digits(return_X_y=True)
    np.savez(folder / "digits.npz", image=x[:600].astype(np.float32), label=y[:600])
    return folder


@pytest.fixture(scope="module")
def reader() -> Predictor:
    x, y = load_digits(return_X_y=True)
    fitted = LogisticRegression(max_iter=300).fit(x[600:] / 16, y[600:])
    weights, bias = (fitted.coef_.T / 16).astype(np.float32), fitted.intercept_.astype(np.float32)
    return model(
        lambda i: {"scores": i["image"] @ weights + bias}, TensorSpec("image", "float32", ("batch", 64))
    )


def opener(folder: Path, name: str, **options: Any) -> Callable[[str, Signature], Dataset]:
    return lambda whose, signature: open_data(name, root=folder, signature=signature, **options)


def read_as(task: Task) -> Callable[[str], Task]:
    return lambda name: task


CLASSES = read_as(Task("classification"))


def run(digits: Path, models: Mapping[str, Predictor], **options: Any) -> Robustness:
    settings: dict[str, Any] = {"most": 2000, "batch": 32, **options}
    return score_models(models, Study(opener(digits, "digits.npz"), CLASSES, THREE, **settings))


def test_scores_depend_neither_on_the_batch_size_nor_on_the_company(digits: Path, reader: Predictor) -> None:
    one = run(digits, {"a": reader}).scores["a"]
    other = run(digits, {"a": reader, "b": reader}, batch=7).scores
    for corruption in THREE:
        assert one.corrupted[corruption].shape == (600, 5)
        assert np.array_equal(one.corrupted[corruption], other["a"].corrupted[corruption])
        assert np.array_equal(one.corrupted[corruption], other["b"].corrupted[corruption])
    changed = run(digits, {"a": reader}, seed=1).scores["a"]
    assert not np.array_equal(one.corrupted["impulse_noise"], changed.corrupted["impulse_noise"])


def test_a_sample_is_the_same_for_a_seed_and_is_scored_as_in_the_whole(
    digits: Path, reader: Predictor
) -> None:
    assert np.array_equal(sample(600, 50, 3), sample(600, 50, 3))
    assert list(sample(5, 10, 0)) == [0, 1, 2, 3, 4]
    whole = run(digits, {"a": reader}).scores["a"]
    some = run(digits, {"a": reader}, most=50, batch=9).scores["a"]
    assert not some.whole
    assert np.array_equal(some.items, sample(600, 50, 0))
    assert np.array_equal(some.corrupted["impulse_noise"], whole.corrupted["impulse_noise"][some.items])


def test_damage_grows_with_severity_and_is_measured_with_intervals(digits: Path, reader: Predictor) -> None:
    found = {m.where: m for m in measurements("a", run(digits, {"a": reader}).scores["a"])}
    assert found["impulse_noise:0"].value > found["impulse_noise:5"].value  # type: ignore[operator]
    mean = np.mean([found[f"contrast:{s}"].value for s in range(1, 6)])  # type: ignore[arg-type]
    assert found["contrast"].value == pytest.approx(mean)
    assert found["contrast:3"].successes == round(found["contrast:3"].value * 600)  # type: ignore[operator]
    for measured in found.values():
        assert measured.n == 600
        assert measured.low is not None
        assert measured.high is not None
        assert measured.low < measured.value < measured.high  # type: ignore[operator]


def test_scores_are_kept_and_paired_for_the_gates(digits: Path, reader: Predictor, tmp_path: Path) -> None:
    found = run(digits, {"a": reader, "baseline": reader})
    for name, scores in found.scores.items():
        save_scores(Workspace(tmp_path), name, scores)
    loaded = load_scores(Workspace(tmp_path), "a", "baseline")
    assert [s.corruption for s in loaded] == list(THREE)
    assert all(isinstance(s, CorruptionScores) and s.baseline is not None for s in loaded)
    assert all(set(np.unique(s.candidate)) <= {0, 1} for s in loaded)
    x, y = load_digits(return_X_y=True)
    outputs = reader({"image": x[:600].astype(np.float32)})
    evaluated = Evaluation(CLASSES("a"), Predictions.of(outputs, y[:600]))
    assert loaded[0].pairing == evaluated.pairing  # the same items and labels that evaluate saw
    assert load_scores(Workspace(tmp_path), "a", None)[0].baseline is None
    assert load_scores(Workspace(tmp_path), "unknown", "baseline") == []


def test_scores_on_other_items_or_of_a_broken_file_are_refused(
    digits: Path, reader: Predictor, tmp_path: Path
) -> None:
    save_scores(Workspace(tmp_path), "a", run(digits, {"a": reader}).scores["a"])
    save_scores(Workspace(tmp_path), "baseline", run(digits, {"b": reader}, most=600 - 1).scores["b"])
    with pytest.raises(BrokenEvidence, match="different items"):
        load_scores(Workspace(tmp_path), "a", "baseline")
    Workspace(tmp_path).scores("a").write_bytes(b"PK")
    with pytest.raises(BrokenEvidence, match="gradatim test --force"):
        load_scores(Workspace(tmp_path), "a", None)


def test_a_corruption_of_another_kind_of_data_is_refused_with_what_the_data_are(
    digits: Path, reader: Predictor
) -> None:
    data = opener(digits, "digits.npz")
    with pytest.raises(UsageError, match=r"`typos` is for text.*`image` float32\[64\]"):
        score_models({"a": reader}, Study(data, CLASSES, ["typos"], most=10, batch=5))
    with pytest.raises(UsageError, match=r"`test\.modality` says tabular"):
        score_models(
            {"a": reader}, Study(data, CLASSES, THREE, most=10, batch=5, declared=Declared("tabular"))
        )


def test_a_model_that_answers_nan_under_corruption_fails_that_corruption_alone(
    digits: Path, reader: Predictor
) -> None:
    def brittle(inputs: Mapping[str, Array]) -> dict[str, Array]:
        scores = reader(inputs)["scores"]
        whole = np.array_equal(inputs["image"], np.rint(inputs["image"]))
        return {
            "scores": scores if whole else scores * np.float32(np.nan)
        }  # only whole grey levels are bearable

    odd = model(brittle, TensorSpec("image", "float32", ("batch", 64)))
    found = run(digits, {"a": reader, "odd": odd}, most=100)
    assert [check.name for check in found.checks.pop("odd")] == ["gaussian_noise", "contrast"]
    assert not found.checks
    assert list(found.scores["odd"].corrupted) == ["impulse_noise"]
    assert list(found.scores["a"].corrupted) == list(THREE)
    alone = run(digits, {"odd": odd}, most=100)
    assert [check.name for check in alone.checks["odd"]] == ["gaussian_noise", "contrast"]
    assert list(alone.scores["odd"].corrupted) == ["impulse_noise"]


def test_a_baseline_with_another_input_is_scored_on_the_same_items(digits: Path, reader: Predictor) -> None:
    renamed = model(lambda i: reader({"image": i["pixels"]}), TensorSpec("pixels", "float32", ("batch", 64)))

    def data(name: str, signature: Signature) -> Dataset:
        inputs = {signature.inputs[0].name: "image"}
        return open_data("digits.npz", root=digits, signature=signature, inputs=inputs)

    found = score_models({"a": reader, "b": renamed}, Study(data, CLASSES, THREE, most=100, batch=32)).scores
    assert found["a"].digest == found["b"].digest
    assert np.array_equal(found["a"].corrupted["gaussian_noise"], found["b"].corrupted["gaussian_noise"])


def test_a_table_of_named_columns_is_perturbed_by_the_spread_of_its_calibration_data(tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    fitted = LinearRegression().fit(x, y)
    names = [f"f{i}" for i in range(10)]
    for file, part in (("test", slice(0, 100)), ("cal", slice(100, 442))):
        lines = [",".join([*names, "label"])]
        lines += [",".join(map(str, [*a, b])) for a, b in zip(x[part], y[part], strict=True)]
        (tmp_path / f"{file}.csv").write_text("\n".join(lines) + "\n")
    weights = fitted.coef_.astype(np.float32)[:, None]
    regressor = model(
        lambda i: {"y": i["x"] @ weights + np.float32(fitted.intercept_)},
        TensorSpec("x", "float32", ("b", 10)),
    )
    study = Study(
        opener(tmp_path, "test.csv"), read_as(Task("regression")), ["feature_noise", "missing_values"],
        most=100, batch=16, reference=opener(tmp_path, "cal.csv"),
    )  # fmt: skip
    found = score_models({"a": regressor}, study).scores["a"]
    means = found.corrupted["feature_noise"].mean(axis=0)
    assert found.clean.mean() > means[4]  # minus the absolute error
    (whole,) = [m for m in measurements("a", found) if m.where == "feature_noise"]
    assert whole.value is not None
    assert whole.value < 0
    assert whole.successes is None


def test_text_is_perturbed_before_it_becomes_tokens_and_vectors_without_labels_are_held_against_the_clean_ones(
    tmp_path: Path,
) -> None:
    (tmp_path / "letters_c.py").write_text(
        "import numpy as np\n"
        "def count(columns):\n"
        "    rows = [[text.lower().count(chr(97 + i)) + 0.1 for i in range(26)] for text in columns['text']]\n"
        "    return {'counts': np.array(rows, np.float32)}\n"
    )
    sentences = [
        f"the {a} fox jumps over the {b} dog"
        for a in ("quick", "brown", "old")
        for b in ("lazy", "big", "shy")
    ]
    (tmp_path / "texts.jsonl").write_text("".join(f'{{"text": "{s}"}}\n' for s in sentences))
    embed = model(lambda i: {"embedding": i["counts"]}, TensorSpec("counts", "float32", ("batch", 26)))
    data = opener(tmp_path, "texts.jsonl", label=None, preprocess="letters_c:count")
    study = Study(data, read_as(Task("embedding")), ["typos", "case_change"], most=100, batch=4)
    found = score_models({"a": embed}, study).scores["a"]
    assert np.allclose(found.clean, 1)
    assert np.allclose(found.corrupted["case_change"], 1)  # the counts know no case
    assert found.corrupted["typos"][:, 4].mean() < found.corrupted["typos"][:, 0].mean() <= 1


def test_token_ids_are_perturbed_with_their_mask(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(1, 50, size=(20, 12))
    mask = np.ones_like(ids)
    np.savez(tmp_path / "tokens.npz", input_ids=ids, attention_mask=mask, label=ids.sum(axis=1) % 2)

    def parity(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"label": (inputs["input_ids"] * inputs["attention_mask"]).sum(axis=1) % 2}

    axes = ("batch", "sequence")
    specs = (TensorSpec("input_ids", "int64", axes), TensorSpec("attention_mask", "int64", axes))
    study = Study(opener(tmp_path, "tokens.npz"), CLASSES, ["token_drop", "truncation"], most=100, batch=6)
    found = score_models({"a": model(parity, *specs)}, study).scores["a"]
    assert found.clean.mean() == 1
    assert found.corrupted["token_drop"][:, 4].mean() < 1


def test_images_of_different_sizes_are_perturbed_before_they_are_cut_to_one(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "crop_c.py").write_text(
        "import numpy as np\n"
        "def crop(columns):\n"
        "    return {'image': np.stack([np.asarray(i)[:8, :8, :3].astype(np.float32) / 255 for i in columns['image']])}\n"
    )
    for label, level in (("dark", 40), ("light", 200)):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(4):
            pixels = np.full((9 + i, 12 - i, 3), level, np.uint8)
            image.fromarray(pixels).save(tmp_path / "images" / label / f"{i}.png")
    bright = model(
        lambda i: {
            "scores": np.stack([0.5 - i["image"].mean((1, 2, 3)), i["image"].mean((1, 2, 3)) - 0.5], axis=1)
        },
        TensorSpec("image", "float32", ("batch", 8, 8, 3)),
    )
    data = opener(tmp_path, "images", preprocess="crop_c:crop", labels=("dark", "light"))
    task = Task("classification", labels=("dark", "light"))
    found = score_models(
        {"a": bright}, Study(data, read_as(task), ["brightness", "gaussian_noise"], most=10, batch=3)
    ).scores["a"]
    assert found.clean.mean() == 1
    assert found.corrupted["brightness"].shape == (8, 5)


def scored(contrast: Array) -> ItemScores:
    n = len(contrast)
    return ItemScores(
        np.arange(n),
        "of these items",
        True,
        np.ones(n, np.float32),
        {"contrast": contrast.astype(np.float32)},
    )


def test_a_corruption_that_is_proven_worse_than_the_baseline_is_said_at_its_worst_severity() -> None:
    dice = np.random.default_rng(4)
    old = dice.random((300, 5)) < [0.97, 0.95, 0.92, 0.88, 0.797]
    new = dice.random((300, 5)) < [0.97, 0.95, 0.9, 0.7, 0.323]
    (told,) = losses_in_words(scored(new), scored(old))
    share = f"{100 * old[:, 4].mean():.1f} % -> {100 * new[:, 4].mean():.1f} %"
    assert told == f"contrast at severity 5 ({share})"
    assert losses_in_words(scored(old), scored(new)) == ()
    assert losses_in_words(scored(old), scored(old)) == ()


def test_chance_alone_is_hardly_ever_called_a_loss() -> None:
    dice = np.random.default_rng(8)
    same = [losses(dice.random((200, 5)) < 0.8, dice.random((200, 5)) < 0.8) for _ in range(400)]
    assert sum(map(bool, same)) <= 0.05 * 400 + 3 * (0.05 * 0.95 * 400) ** 0.5
    assert losses(np.zeros((100, 5)), np.ones((100, 5))) == [1, 2, 3, 4, 5]
    assert losses(np.zeros((2, 5)), np.ones((2, 5))) == []
    unscored = np.full((100, 5), np.nan)
    assert losses(np.zeros((100, 5)), unscored) == []
