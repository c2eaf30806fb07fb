"""Several candidates of one recipe, trained with other seeds: judged as one, and none of them chosen on the test set."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gate_project import GateProject, lay_down, named, write_model
from test_verdicts_retold import N, again, classes, rules_of, same

from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, InvalidInput
from gradatim.gates.case import Case
from gradatim.gates.compare import compare
from gradatim.gates.judge import judge
from gradatim.gates.recording import grounds_of
from gradatim.gates.retold import retold
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.intervals import student
from gradatim.metrics.measure import measurements
from gradatim.metrics.population import CANDIDATES, Population
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.steps.gate import plan_gates

LABELS = np.arange(240) % 3


def misses(count: int) -> np.ndarray:
    return np.where(np.arange(240) < count, (LABELS + 1) % 3, LABELS)


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    """A release that misses 6 of 240; the recipe's models answer as the release, as the candidate (12), and of other bytes."""
    pytest.importorskip("onnxruntime")
    made = lay_down(
        tmp_path, LABELS, misses(6), misses(12), {"site": np.array(["north", "south"])[LABELS // 2]}
    )
    write_model(made.root / "second.onnx", "old", 0.1)
    write_model(made.root / "third.onnx", "new", 0.1)
    return made


def asks(
    project: GateProject, gates: str, more: str = "candidates: [second.onnx, third.onnx]", **parts: str
) -> None:
    project.contract(gates, **parts)
    contract = project.root / "gradatim.yml"
    contract.write_text(contract.read_text().replace("path: model.onnx", f"path: model.onnx, {more}"))


def test_every_candidate_is_judged_and_digested_and_the_first_is_released(project: GateProject) -> None:
    asks(
        project,
        "accuracy: {at_least: 80%}\naccuracy[site=north]: {not_worse_than: baseline, by: 60%}\nrecall: {at_least: 20%, slices: every class}",
        data="slices: [site]",
    )
    found = project.judge()
    accuracy = named(found, "accuracy")
    assert accuracy.value == pytest.approx(1 - (12 + 6 + 12) / 3 / 240)
    assert (
        "over 3 candidates of one recipe (95.0 %, 97.5 %, 95.0 %), the first of which is to be released"
        in accuracy.text
    )
    release = project.release()
    evidence = release.workspace.evidence("evaluate")
    others = {name: other.manifest.digest for name, other in release.forms.others.items()}
    assert {name: evidence.inputs[name] for name in others} == others
    assert list(others) == ["candidate 2", "candidate 3"]
    told = {m.variant: m.value for m in evidence.measurements if m.label == "accuracy"}
    assert told == pytest.approx(
        {
            "original": 0.95,
            "candidate 2": 0.975,
            "candidate 3": 0.95,
            CANDIDATES: accuracy.value,
            "baseline": 0.975,
        }
    )
    assert evidence.subjects == found.subjects == {"original": release.forms.original.manifest.digest}
    assert {r.gate: r.text for r in found.gates if r.verdict is not Verdict.PASS} == {}
    summary = (project.root / ".gradatim/summary.md").read_text(encoding="utf-8")
    assert "1 form of the candidate; chosen: original" in summary
    assert "trained with another seed, never released" in summary
    assert {file.path for file in release.forms.original.manifest.files} == {"model.onnx"}


def test_a_recipe_whose_models_differ_much_proves_less_than_one_of_its_models(project: GateProject) -> None:
    project.contract("accuracy: {at_least: 90%}")
    assert project.judge().verdict is Verdict.PASS
    write_model(project.root / "second.onnx", "new", turned=True)
    asks(project, "accuracy: {at_least: 90%}")
    found = named(project.judge(), "accuracy")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "More samples or more candidates settle it" in found.text
    assert found.needed is None


def test_the_same_model_twice_tells_nothing_of_training_and_is_refused(project: GateProject) -> None:
    (project.root / "second.onnx").write_bytes((project.root / "model.onnx").read_bytes())
    asks(project, "accuracy: {at_least: 80%}")
    with pytest.raises(
        InvalidInput, match=r"gradatim.yml:1: second.onnx has the same bytes as another candidate"
    ):
        _ = project.release().forms.others


def test_a_candidate_that_is_not_there_is_told_with_its_line(project: GateProject) -> None:
    asks(project, "accuracy: {at_least: 80%}", "candidates: [seconds.onnx]")
    with pytest.raises(InvalidInput, match=r"gradatim.yml:1: There is no model at seconds.onnx.*second.onnx"):
        _ = project.release().forms.others


def test_other_candidates_beside_the_same_model_are_another_use_of_the_data(project: GateProject) -> None:
    for shift in (0.2, 0.3):
        write_model(project.root / "second.onnx", "old", shift)
        asks(project, "accuracy: {at_least: 80%}", data="uses: 5")
        outcome = project.judge()
    assert "candidate 2 of the 5" in outcome.found.budget, outcome.found.budget  # type: ignore[union-attr]


def test_the_plan_says_that_training_comes_on_top(project: GateProject) -> None:
    asks(project, "accuracy: {at_least: 80%}\nsize: {at_most: 5 MB}")
    accuracy, size = plan_gates(project.release())
    assert (
        "3 candidates are judged together: by how much training varies comes on top, 1.7 standard deviations"
        in accuracy.text
    )
    assert "candidates" not in size.text


@pytest.mark.parametrize(
    ("more", "parts", "told"),
    [
        ("candidates: [second.onnx], build: python make.py", {}, "`build` makes one model"),
        ("candidates: [second.onnx], adapter: lora", {}, "`adapter` is put on one model"),
        ("candidates: [second.onnx, second.onnx]", {}, "`second.onnx` stands twice"),
        ("candidates: [model.onnx]", {}, "`model.onnx` stands twice"),
        ("candidates: [../second.onnx]", {}, "a path inside the repository"),
        ("candidates: [second.onnx]", {"data": "calibration: test.npz}\ncompress: {keep: {accuracy: 99%}"}, "`compress` makes forms of one model"),
    ],
)  # fmt: skip
def test_what_several_candidates_cannot_have_beside_them_is_said_at_its_line(
    project: GateProject, more: str, parts: dict[str, str], told: str
) -> None:
    asks(project, "accuracy: {at_least: 80%}", more, **parts)
    with pytest.raises(ContractError, match=told):
        read_contract(project.root / "gradatim.yml")


def test_a_sequential_gate_beside_several_candidates_is_refused(project: GateProject) -> None:
    asks(project, "accuracy: {at_least: 80%, sequential: true}")
    with pytest.raises(ContractError, match="`sequential` has no bounds for several `candidates`"):
        read_contract(project.root / "gradatim.yml")


def recipe(
    make: Callable[[np.random.Generator], tuple[Evaluation, Evaluation]], k: int = 3
) -> tuple[Evaluation, Evaluation]:
    """Candidates beside one baseline, all on the same rows."""
    first, old = make(np.random.default_rng(0))
    others = (make(np.random.default_rng(seed))[0].predictions for seed in range(1, k))
    members = [first, *(Evaluation(first.task, mine, old) for mine in others)]
    return Population(members), old


def test_verdicts_on_a_recipe_are_made_again_from_their_grounds() -> None:
    new, old = recipe(lambda generator: classes(generator, groups=True), 2)
    case = Case("original", measurements(new, CANDIDATES), new, old)
    seen = set()
    for rule in rules_of(new):
        first, second = again([rule], case)
        same(first, second)
        seen |= {one.verdict for one in first}
    assert seen >= {Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE}


def test_gates_of_others_judge_all_candidates_of_a_recipe_too() -> None:
    new, old = recipe(classes)
    case = Case(
        "original", [*measurements(new._members[0], "original"), *measurements(new, CANDIDATES)], new, old
    )
    asked = [Rule("accuracy", "accuracy", "at_least", 0.7)]
    grounds = grounds_of(asked, case, judge(asked, case), on_inconclusive="fail")
    (found,) = judge(
        [Rule("f1", "f1_macro", "at_least", 0.7)], retold(grounds, "original", case.measurements)
    )
    assert (found.verdict, found.value) == (Verdict.PASS, pytest.approx(new.samples("f1_macro").value))


@pytest.mark.parametrize(
    "metric", ["accuracy", "f1_macro", "balanced_accuracy", "log_loss", "ece", "roc_auc", "mine", "recall"]
)
def test_every_metric_of_a_recipe_is_the_mean_of_its_models_and_wider_than_theirs(metric: str) -> None:
    new, old = recipe(classes)
    found, alone = new.samples(metric), new._members[0].samples(metric)
    each = [member.samples(metric).value for member in new._members]
    assert found.value == pytest.approx(np.mean(each))
    low, high = found.bounds(0.05)
    assert low <= found.value <= high
    training = student(2, 0.05) * np.std(each, ddof=1) / math.sqrt(3)
    assert high - found.value >= min(training, found.high_limit - found.value) * 0.999
    beside = compare(found, old.samples(metric), margin=0.01)
    assert beside.high - beside.value >= training * 0.999
    assert alone.pairing == found.pairing


def test_a_difference_of_a_recipe_has_the_rows_and_the_training_as_sides_of_a_right_angle() -> None:
    new, old = recipe(classes)
    samples, before = new.samples("accuracy"), old.samples("accuracy")
    rows, both = compare(samples.on_rows, before), compare(samples, before)
    assert both.value - both.low == pytest.approx(
        math.hypot(rows.value - rows.low, samples.of_training(0.05))
    )


def test_a_veto_on_a_recipe_refuses_only_what_the_training_does_not_explain() -> None:
    rule = Rule("accuracy", "accuracy", "not_worse", 0.01, slices="class", family="veto")
    verdicts = []
    for spread in (0.0, 0.3):
        labels = np.repeat([0, 1], 400)
        task = Task("classification", (0, 1))
        old = Evaluation(task, Predictions.of({"label": labels}, labels))
        members = []
        for share in (0.15 - spread / 2, 0.15, 0.15 + spread / 2):
            wrong = np.arange(800) % 400 < 400 * share
            members.append(
                Evaluation(task, Predictions.of({"label": np.where(wrong, 1 - labels, labels)}, labels), old)
            )
        results = judge([rule], Case("original", candidate=Population(members), baseline=old))
        verdicts.append({result.verdict for result in results})
    assert verdicts == [{Verdict.FAIL}, {Verdict.PASS}]


@pytest.mark.parametrize(("k", "spread"), [(2, 0.02), (3, 0.02), (5, 0.005)])
def test_recipes_on_the_bound_rarely_pass(k: int, spread: float) -> None:
    generator, passed = np.random.default_rng(k), 0
    rule, task, n = Rule("accuracy", "accuracy", "at_least", 0.9), Task("classification", (0, 1)), 400
    for _ in range(150):
        shared, labels, members = generator.random(n), np.zeros(n, np.int64), []
        for share in 0.9 + spread * generator.normal(size=k):
            luck = np.where(generator.random(n) < 0.6, shared, generator.random(n))
            members.append(Evaluation(task, Predictions.of({"label": (luck > share).astype(int)}, labels)))
        passed += judge([rule], Case("original", candidate=Population(members)))[0].verdict is Verdict.PASS
    assert passed / 150 <= 0.07


def test_an_own_metric_of_a_recipe_resamples_the_rows_of_all_alike() -> None:
    new, _ = recipe(classes, 2)
    found = new.samples("mine")
    rows = np.arange(N // 2)
    assert found.resample(rows) == pytest.approx(
        np.mean([member.samples("mine").resample(rows) for member in new._members])
    )
