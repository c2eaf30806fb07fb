"""Every metric against scikit-learn or a count by hand, and what must never flatter."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

from gradatim.errors import InvalidInput
from gradatim.metrics import catalogue
from gradatim.metrics.evaluation import Evaluation, conditions
from gradatim.metrics.measure import measurements, weak_slices
from gradatim.metrics.outputs import reduce_batch
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.metrics.tokens import entities


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=200, C=0.001, tol=1e-2).fit(x[:1000], y[:1000])
    return y[1000:], model.predict_proba(x[1000:])


@pytest.fixture(scope="module")
def cancer():
    x, y = load_breast_cancer(return_X_y=True)
    model = LogisticRegression(C=0.001).fit(StandardScaler().fit_transform(x)[:300], y[:300])
    return y[300:], model.predict_proba(StandardScaler().fit_transform(x)[300:])


def evaluation(truth, outputs, task="classification", **more):
    slices = more.pop("slices", None)
    return Evaluation(Task(task, **more), Predictions.of(outputs, truth, slices))


def measure(task, predictions, *, variant, reference=None):
    beside = None if reference is None else Evaluation(task, reference)
    return measurements(Evaluation(task, predictions, beside), variant)


def item_scores(task, predictions):
    return Evaluation(task, predictions).scorer.item_scores()


def value(metric, truth, outputs, task="classification", where=None, **more):
    return evaluation(truth, outputs, task, **more).samples(metric, where).value


def test_multiclass_metrics_agree_with_scikit_learn(digits):
    y, p = digits
    answers = p.argmax(axis=1)
    found = {
        m.name: m.value
        for m in measure(Task("classification"), Predictions.of({"p": p}, y), variant="v")
        if not m.where
    }
    assert found == pytest.approx(
        {
            "accuracy": oracle.accuracy_score(y, answers),
            "balanced_accuracy": oracle.balanced_accuracy_score(y, answers),
            "precision": oracle.precision_score(y, answers, average="macro"),
            "recall": oracle.recall_score(y, answers, average="macro"),
            "f1": oracle.f1_score(y, answers, average="macro"),
            "f1_micro": oracle.f1_score(y, answers, average="micro"),
            "f1_macro": oracle.f1_score(y, answers, average="macro"),
            "f1_weighted": oracle.f1_score(y, answers, average="weighted"),
            "roc_auc": oracle.roc_auc_score(y, p, multi_class="ovr"),
            "log_loss": oracle.log_loss(y, p),
            "ece": found["ece"],
        },
        abs=1e-12,
    )


def test_per_class_metrics_agree_with_scikit_learn_and_with_the_paired_path(digits):
    y, p = digits
    answers = p.argmax(axis=1)
    report = oracle.classification_report(y, answers, output_dict=True)
    single = evaluation(y, {"p": p})
    assert single.samples("f1_macro", "class=3").value == single.samples("f1", "class=3").value
    for m in measure(Task("classification"), Predictions.of({"p": p}, y), variant="v"):
        if m.where:
            name = {"f1": "f1-score"}.get(m.name, m.name)
            assert m.value == pytest.approx(report[m.where.removeprefix("class=")][name], abs=1e-12)
            samples = single.samples(m.name, m.where)
            assert m.value == pytest.approx(samples.value, abs=1e-12)
            assert (m.low, m.high) == pytest.approx(samples.bounds(0.025), abs=1e-9)


def test_binary_metrics_are_about_the_positive_label(cancer):
    y, p = cancer
    answers = p.argmax(axis=1)
    for name, function in (
        ("precision", oracle.precision_score),
        ("recall", oracle.recall_score),
        ("f1", oracle.f1_score),
    ):
        assert value(name, y, {"p": p}) == pytest.approx(function(y, answers), abs=1e-12)
        assert value(name, y, {"p": p}, labels=(0, 1), positive=0) == pytest.approx(
            function(y, answers, pos_label=0), abs=1e-12
        )
    assert value("roc_auc", y, {"p": p[:, 1]}) == pytest.approx(oracle.roc_auc_score(y, p[:, 1]), abs=1e-12)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.65, 0.65])
    p = np.stack([confidence, 1 - confidence], axis=1)
    assert value("ece", np.array([0, 1, 0, 0]), {"p": p}) == pytest.approx(0.5 * 0.45 + 0.5 * 0.35)
    bins = evaluation(np.array([0, 1, 0, 0]), {"p": p}).scorer.calibration()
    assert [(b.n, b.accuracy) for b in bins] == [(2, 1.0), (2, 0.5)]


def test_regression_metrics_agree_with_scikit_learn():
    x, y = load_diabetes(return_X_y=True)
    z = LinearRegression().fit(x[:300], y[:300]).predict(x)
    assert value("mae", y, {"y": z[:, None]}, "regression") == pytest.approx(oracle.mean_absolute_error(y, z))
    assert value("rmse", y, {"y": z}, "regression") == pytest.approx(
        math.sqrt(oracle.mean_squared_error(y, z))
    )
    assert value("r2", y, {"y": z}, "regression") == pytest.approx(oracle.r2_score(y, z))
    two, answers = np.stack([y, 2 * y + x[:, 0]], axis=1), np.stack([z, z], axis=1)
    assert value("r2", two, {"y": answers}, "regression") == pytest.approx(oracle.r2_score(two, answers))


def test_entities_are_whole_or_wrong():
    assert entities(["B-PER", "I-PER", "O", "B-LOC", "B-LOC"]) == {
        ("PER", 0, 2),
        ("LOC", 3, 4),
        ("LOC", 4, 5),
    }
    assert entities(["I-PER", "I-LOC", "O"]) == {("PER", 0, 1), ("LOC", 1, 2)}
    tags = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    truth = [np.array([1, 2, 0, 3]), np.array([0, 3, 4, -100])]
    said = [np.array([1, 2, 0, 3]), np.array([0, 3, 0, 1])]
    found = evaluation(truth, {"tags": said}, "token_classification", labels=tags)
    assert found.samples("f1").value == pytest.approx(2 / 3)
    assert found.samples("recall", "class=LOC").value == pytest.approx(0.5)
    assert found.samples("precision", "class=PER").value == 1
    assert found.samples("accuracy").value == pytest.approx(6 / 7)
    names = [[tags[tag] for tag in item if tag >= 0] for item in truth]
    assert value("f1", names, {"tags": said}, "token_classification", labels=tags) == pytest.approx(2 / 3)


def test_retrieval_by_hand():
    angles = np.array([0, 0.1, 0.25, 3.0, 3.1, 1.5])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    labels = np.array([0, 0, 1, 1, 1, 7])
    found = evaluation(labels, {"e": vectors}, "embedding")
    # the last item has no companion and is no query; item 2 finds a companion third, the others first or second
    assert found.samples("recall_at_1").value == pytest.approx(4 / 5)
    assert found.samples("recall_at_5").value == 1
    ideal = oracle.ndcg_score([[1, 0, 0, 0, 0]], [[5, 4, 3, 2, 1]], k=3)
    assert ideal == 1
    relevance = [
        (labels[np.argsort(-(vectors @ v), kind="stable")[1:]] == label) * 1.0
        for v, label in zip(vectors, labels, strict=True)
    ]
    wanted = np.mean([oracle.ndcg_score([r], [np.arange(5, 0, -1)], k=3) for r in relevance[:5]])
    assert found.samples("ndcg_at_3").value == pytest.approx(wanted)


def test_cosine_is_fidelity_to_the_baseline():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(50, 8)).astype(np.float32)
    base = Predictions.of({"e": vectors})
    moved = Predictions.of({"e": vectors + 0.1 * generator.normal(size=(50, 8)).astype(np.float32)})
    found = {m.name: m for m in measure(Task("embedding"), moved, variant="int8", reference=base)}
    wanted = np.mean(np.diag(oracle.pairwise.cosine_similarity(moved.outputs["e"].values, vectors)))
    assert found["cosine"].value == pytest.approx(wanted, abs=1e-6)
    assert found["cosine"].low < wanted < found["cosine"].high
    same = {m.name: m.value for m in measure(Task("embedding"), base, variant="fp32", reference=base)}
    assert same == pytest.approx({"cosine": 1.0, "agreement": 1.0})


def test_perplexity_is_the_same_whatever_the_batches():
    generator = np.random.default_rng(0)
    logits, ids = generator.normal(size=(6, 9, 13)).astype(np.float32), generator.integers(13, size=(6, 9))
    mask = np.arange(9) < np.array([9, 4, 9, 9, 2, 7])[:, None]
    task = Task("language_modelling")
    parts = [reduce_batch(task, {"logits": logits[i]}, {"input_ids": ids[i], "attention_mask": mask[i]})
             for i in (slice(0, 6), slice(0, 1), slice(1, 6))]  # fmt: skip
    whole = parts[0]
    split = {name: np.concatenate([parts[1][name], parts[2][name]]) for name in whole}
    assert value("perplexity", None, whole, "language_modelling") == value(
        "perplexity", None, split, "language_modelling"
    )
    shifted = logits[:, :-1].astype(np.float64)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    losses = -np.take_along_axis(log_p, ids[:, 1:, None], axis=2)[..., 0][mask[:, 1:]]
    assert value("perplexity", None, whole, "language_modelling") == pytest.approx(math.exp(losses.mean()))


def test_a_missing_class_never_flatters():
    y = np.array([0, 0, 1, 1])
    pinned = evaluation(y, {"label": y}, labels=(0, 1, 2))
    assert pinned.samples("f1_macro").value == pytest.approx(2 / 3)
    assert pinned.samples("balanced_accuracy").value == pytest.approx(2 / 3)
    for metric in ("precision", "recall", "f1", "accuracy"):
        found = pinned.samples(metric, "class=2")
        assert found.value is None
        assert found.reason
    p = np.eye(3)[y] * 0.9 + 0.1 / 3
    auc = evaluation(y, {"p": p}, labels=(0, 1, 2)).samples("roc_auc")
    assert (auc.value, auc.reason) == (None, "no sample is 2")
    rows = {
        m.label: m
        for m in measure(Task("classification", (0, 1, 2)), Predictions.of({"label": y}, y), variant="v")
    }
    assert rows["f1[class=2]"].value is None
    assert rows["recall[class=2]"].reason == "no sample is 2"


@pytest.mark.parametrize(
    "metric",
    ["accuracy", "f1_macro", "balanced_accuracy", "log_loss", "ece", "roc_auc", "f1_weighted", "recall"],
)
def test_the_interval_holds_the_truth_about_as_often_as_it_says(metric):
    generator = np.random.default_rng(5)

    def sample(n):
        y = generator.choice(3, n, p=[0.5, 0.3, 0.2])
        logits = generator.normal(size=(n, 3)) + 2.0 * np.eye(3)[y]
        return evaluation(y, {"logits": logits.astype(np.float32)}, scores="logits").samples(metric)

    truth = sample(60_000).value
    hits = 0
    for _ in range(80):
        low, high = sample(300).bounds(0.025)
        hits += low <= truth <= high
    # the estimate of the calibration error is biased upward on few samples, and its interval with it
    assert hits >= (60 if metric == "ece" else 71)


def test_two_thousand_rows_take_under_two_seconds():
    generator = np.random.default_rng(0)
    y = generator.integers(10, size=2000)
    p = generator.dirichlet(np.ones(10), 2000).astype(np.float32)
    p[np.arange(2000), y] += 1
    p /= p.sum(axis=1, keepdims=True)
    predictions = Predictions.of({"p": p}, y, {"region": np.where(y % 2, "north", "south")})
    start = time.process_time()
    measure(Task("classification"), predictions, variant="v", reference=predictions)
    assert time.process_time() - start < 2


def test_the_same_predictions_give_the_same_intervals(digits):
    y, p = digits
    first, second = (
        measure(Task("classification"), Predictions.of({"p": p}, y), variant="v") for _ in range(2)
    )
    assert first == second


def test_slices_restrict_every_metric(digits):
    y, p = digits
    half = np.where(np.arange(y.shape[0]) % 2, "a=1,b", "north")
    found = measure(Task("classification"), Predictions.of({"p": p}, y, {"half": half}), variant="v")
    by = {m.label: m for m in found}
    keep = half == "north"
    assert by["accuracy[half=north]"].value == pytest.approx(
        oracle.accuracy_score(y[keep], p[keep].argmax(axis=1))
    )
    assert by["accuracy[half=a=1,b]"].n == (~keep).sum()
    both = evaluation(y, {"p": p}, slices={"half": half}).samples("recall", "half=north,class=3")
    assert both.trials == (keep & (y == 3)).sum()
    assert evaluation(y, {"p": p}, slices={"half": half}).samples("accuracy", "half=south").value is None
    with pytest.raises(InvalidInput, match="no slice column"):
        evaluation(y, {"p": p}).samples("accuracy", "region=north")


def test_a_weak_slice_is_found_and_a_strong_model_has_none():
    generator = np.random.default_rng(0)
    y = generator.integers(2, size=1000)
    region = np.where(generator.random(1000) < 0.2, "south", "north")
    wrong = generator.random(1000) < np.where((region == "south") & (y == 1), 0.5, 0.05)
    weak = weak_slices(
        evaluation(y, {"label": np.where(wrong, 1 - y, y)}, labels=(0, 1), slices={"region": region})
    )
    assert weak[0].where == "class=1,region=south"
    assert weak[0].value < 0.7 < weak[0].rest
    assert weak_slices(evaluation(y, {"label": y}, labels=(0, 1), slices={"region": region})) == []


@pytest.mark.parametrize(
    ("outputs", "truth", "task", "words"),
    [
        ({"p": np.array([[0.5, 0.5], [np.nan, 1]])}, [0, 1], {}, "NaN in row 1"),
        ({"p": np.array([[0.5, 0.5], [np.inf, 1]])}, [0, 1], {}, "infinite in row 1"),
        ({"p": np.ones((2, 3)) / 3}, [0, 1], {"labels": (0, 1)}, "3 scores an item, but 2 labels"),
        ({"p": np.ones((2, 2)) / 2}, [0, 5], {}, "5, which is not among"),
        ({"p": np.ones((2, 2)) / 2}, ["cat", "dog"], {}, "List them under"),
        ({"p": np.ones((2, 2)) / 2}, ["cat", "cow"], {"labels": ("cat", "dog")}, "cow"),
        ({"p": np.ones((2, 2)) / 2}, [0.5, 1], {}, "not a label"),
        ({"p": np.ones((2, 2)) / 2}, None, {}, "have no labels"),
        ({"p": np.ones((2, 2)) * 3}, [0, 1], {"scores": "probabilities"}, "is no probability"),
        ({"p": np.ones((2, 2, 4))}, [0, 1], {}, "one row of scores"),
        ({"p": np.ones((2, 2))}, [0, 1], {"output": "logit"}, "no output `logit`"),
        ({"p": np.ones(2)}, [0, 1], {"labels": (0, 1, 2)}, "tell two labels apart"),
        ({"p": np.array([0, 9])}, [0, 1], {"labels": (0, 1)}, "output `p` hold 9"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(outputs, truth, task, words):
    with pytest.raises(InvalidInput, match=words):
        evaluation(truth, outputs, **task)


def test_outputs_are_read_as_what_they_are(cancer):
    y, p = cancer
    logits = np.log(p)
    names = np.array(["good", "bad"])[p.argmax(axis=1)]
    truth = np.array(["good", "bad"])[y]
    wanted = oracle.accuracy_score(y, p.argmax(axis=1))
    log_loss = oracle.log_loss(y, p)
    assert value("log_loss", y, {"x": logits}) == pytest.approx(log_loss)
    assert value("log_loss", y, {"x": p[:, 1]}) == pytest.approx(log_loss)
    assert value("log_loss", y, {"x": logits[:, 1:] - logits[:, :1]}) == pytest.approx(log_loss)
    assert value("accuracy", truth, {"x": names}, labels=("good", "bad")) == pytest.approx(wanted)
    assert value("accuracy", truth, {"x": p}, labels=("good", "bad")) == pytest.approx(wanted)
    assert value("accuracy", y, {"x": p}, labels=("good", "bad")) == pytest.approx(wanted)
    assert value("accuracy", y, {"output_label": p.argmax(axis=1), "output_probability": p}) == pytest.approx(
        wanted
    )
    assert value("accuracy", y, {"x": p.astype(np.float16)}) == pytest.approx(wanted, abs=0.01)
    none = evaluation(y, {"label": p.argmax(axis=1)}, labels=(0, 1))
    assert none.samples("log_loss").reason == "the model names classes and gives no scores"


@given(st.integers(2, 5), st.integers(5, 60), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_any_predictions_agree_with_scikit_learn(classes, n, seed):
    generator = np.random.default_rng(seed)
    y, answers = generator.integers(classes, size=(2, n))
    found = evaluation(y, {"label": answers}, labels=tuple(range(classes)))
    pinned = {"labels": list(range(classes)), "zero_division": 0}
    assert found.samples("f1_macro").value == pytest.approx(
        oracle.f1_score(y, answers, average="macro", **pinned)
    )
    assert found.samples("f1_weighted").value == pytest.approx(
        oracle.f1_score(y, answers, average="weighted", **pinned)
    )
    for name in ("f1_macro", "accuracy", "balanced_accuracy"):
        bounds = found.samples(name).bounds(0.05)
        if bounds:
            assert 0 <= bounds[0] <= found.samples(name).value + 1e-9
            assert found.samples(name).value - 1e-9 <= bounds[1] <= 1
    np.testing.assert_array_equal(
        found.confusion(), oracle.confusion_matrix(y, answers, labels=range(classes))
    )


def test_catalogue_names_what_is_known():
    assert catalogue.find("acuracy", "classification") is None
    assert {"accuracy", "latency_p50", "negative_flips", "mine"} <= set(
        catalogue.known("classification", catalogue.own_metrics(["mine"]))
    )
    assert catalogue.find("recall_at_5", "embedding").description.endswith("5 nearest")
    assert catalogue.find("recall_at_5", "classification") is None
    for task in catalogue.TASKS:
        assert all(metric.description for metric in catalogue.known(task).values())


def test_conditions_are_read_with_commas_in_their_values():
    assert list(conditions("a=1,2,b=x")) == [("a", "1,2"), ("b", "x")]
    with pytest.raises(InvalidInput, match="column=value"):
        list(conditions("north"))


def test_item_scores_are_what_robustness_compares(digits):
    y, p = digits
    assert item_scores(Task("classification"), Predictions.of({"p": p}, y)).mean() == pytest.approx(
        (p.argmax(axis=1) == y).mean()
    )
    numbers = item_scores(
        Task("regression"), Predictions.of({"y": np.array([1.0, 2.0])}, np.array([1.5, 2.0]))
    )
    assert numbers.tolist() == [-0.5, 0.0]


def test_a_task_refuses_what_makes_no_sense():
    for arguments in ({"type": "clasification"}, {"type": "classification", "labels": ("a", "a")}, {"type": "classification", "labels": ()},
                      {"type": "classification", "own": {"accuracy": max}}, {"type": "classification", "labels": ("a",), "positive": "b"}):  # fmt: skip
        with pytest.raises(InvalidInput):
            Task(**arguments)
