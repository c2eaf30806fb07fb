"""The gate step from the contract to the verdict: a real release, a real candidate, small evidence."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import yaml
from gate_project import GateProject, lay_down, named
from registry_examples import commit_file, git

from gradatim.commands.plan import show_plan
from gradatim.contract.rules import read_rule
from gradatim.contract.schema import GateSection
from gradatim.evidence.found import Tested as Behaviour
from gradatim.gates.exact import forgiven
from gradatim.gates.plan_row import PlanRow
from gradatim.gates.verdict import Verdict
from gradatim.pipeline.step import run_step
from gradatim.report.collect import collect
from gradatim.steps.gate import plan_gates

pytest.importorskip("onnxruntime")

ROWS = 240
LABELS = np.arange(ROWS) % 3


def answers(misses: int, label: int | None = None) -> np.ndarray:
    """Right answers but for so many of them, of one label where it is given."""
    places = np.flatnonzero(label == LABELS) if label is not None else np.arange(ROWS)
    found = LABELS.copy()
    found[places[:misses]] = (LABELS[places[:misses]] + 1) % 3
    return found


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    return lay_down(
        tmp_path,
        LABELS,
        answers(20, label=0),
        answers(12, label=2),
        {"site": np.array(["north", "south"])[LABELS // 2]},
    )


def test_a_stage_that_only_warns_lets_the_undecided_pass_and_nothing_else(project: GateProject) -> None:
    project.contract(
        "accuracy: {at_least: 94%}\nrecall[class=2]: {at_least: 97%}\nrecall[class=0]: {at_least: 90%}"
    )
    strict = project.judge("production")
    verdicts = {result.gate: result.verdict for result in strict.gates}
    assert verdicts == {
        "accuracy": Verdict.INCONCLUSIVE,
        "recall[class=2]": Verdict.FAIL,
        "recall[class=0]": Verdict.PASS,
    }
    assert [result.gate for result in strict.gates if result.refuses] == ["accuracy", "recall[class=2]"]
    warned = project.judge("alpha")
    assert {result.gate: result.verdict for result in warned.gates} == verdicts
    assert [result.gate for result in warned.gates if result.refuses] == ["recall[class=2]"]
    project.contract("accuracy: {at_least: 94%}")
    assert project.judge("production").verdict is Verdict.INCONCLUSIVE
    assert project.judge("alpha").verdict is Verdict.PASS


def test_what_was_not_measured_fails_unless_it_is_not_required_and_never_passes(project: GateProject) -> None:
    project.contract("energy: {at_most: 2}\nmemory: {at_most: 1 GB, required: false}")
    for stage, blocking in (("production", True), ("alpha", False)):
        found = project.judge(stage)
        assert named(found, "energy").verdict is Verdict.FAIL
        optional = named(found, "memory")
        assert (optional.verdict, optional.blocking) == (Verdict.INCONCLUSIVE, blocking)
        assert "gradatim benchmark" in optional.text
        assert found.verdict is Verdict.FAIL


def test_evidence_that_is_missing_refuses_and_names_the_command(project: GateProject) -> None:
    project.contract("accuracy: {at_least: 50%}")
    release = project.release()
    statement = run_step("gate", release).statement
    assert statement.verdict is Verdict.INVALID
    assert any("gradatim evaluate" in result.text for result in statement.gates)


def test_severity_and_strict_reach_the_robustness_gate(project: GateProject) -> None:
    def found(gate: str, steps: tuple[str, ...] = ("test",)) -> tuple[float | None, str]:
        project.contract(f"robustness[feature_noise]: {gate}", test="robustness: [feature_noise]")
        result = named(project.judge("production", *steps), "robustness[feature_noise]")
        return result.low, result.text

    plain, _ = found("{at_least: 60%}")
    strict, _ = found("{at_least: 60%, strict: true}")
    assert plain is not None
    assert strict is not None
    assert strict < plain  # Maurer-Pontil assumes less and so proves less
    assert "up to severity 2" in found("{at_least: 60%, severity: 2}")[1]


def test_the_confidence_of_a_gate_widens_its_interval(project: GateProject) -> None:
    project.contract("accuracy: {at_least: 80%}")
    usual = named(project.judge(), "accuracy")
    project.contract("accuracy: {at_least: 80%, confidence: 99.9%}")
    sure = named(project.judge(), "accuracy")
    assert sure.low is not None
    assert usual.low is not None
    assert sure.low < usual.low


def test_a_veto_refuses_a_proven_regression_and_lets_the_unproven_pass(project: GateProject) -> None:
    project.contract("recall: {not_worse_than: baseline, by: 1%, slices: every class, veto: true}")
    found = project.judge()
    assert {r.gate: r.verdict for r in found.gates} == {
        "recall[class=0]": Verdict.PASS,
        "recall[class=1]": Verdict.PASS,
        "recall[class=2]": Verdict.FAIL,
    }
    assert "regression is proven" in named(found, "recall[class=2]").text


def test_every_declared_slice_must_prove_the_rule(project: GateProject) -> None:
    project.contract("accuracy: {at_least: 80%, slices: every site}", data="slices: site")
    found = project.judge()
    assert {r.gate for r in found.gates} == {"accuracy", "accuracy[site=north]", "accuracy[site=south]"}


def test_a_rule_by_slices_of_a_column_still_holds_for_all_of_the_data(project: GateProject) -> None:
    project.contract(
        "accuracy: {not_worse_than: baseline, by: 1%, slices: every site, veto: true}", data="slices: site"
    )
    planned = [row.gate for row in plan_gates(project.release())]
    assert planned == ["accuracy", "accuracy[site=north]", "accuracy[site=south]"]
    found = project.judge()
    assert [r.gate for r in found.gates] == planned
    whole = named(found, "accuracy")
    assert "regression" not in whole.text  # it must be proven, as without slices: only a slice is vetoed
    project.contract("accuracy: {not_worse_than: baseline, by: 1%}")
    assert named(project.judge(), "accuracy").verdict is whole.verdict


def test_the_baseline_is_run_twice_before_flips_are_held_against_it(project: GateProject) -> None:
    project.contract("negative_flips: {at_most: 1%}")
    found = named(project.judge(), "negative_flips")
    assert found.verdict is Verdict.FAIL
    assert "Of 240 samples 12 that v1.0.0 got right are wrong now." in found.text
    assert "Run twice" not in found.text  # this baseline is steady
    evaluate = project.release().workspace.statement("evaluate")
    assert evaluate is not None
    (floor,) = [m for m in evaluate.measurements if m.name == "self_flips"]
    assert (floor.variant, floor.successes, floor.n) == ("baseline", 0, ROWS)
    assert not (project.root / ".gradatim/predictions/baseline again").exists()
    project.contract("accuracy: {at_least: 50%}")
    project.judge()
    again = project.release().workspace.statement("evaluate")
    assert again is not None
    assert all(m.name != "self_flips" for m in again.measurements)  # nobody asks, so nothing is run twice


def roll_dice(project: GateProject) -> None:
    """Let the model add noise to its scores, so that it is wrong on other rows each time."""
    import onnx
    from onnx import helper

    model = onnx.load(project.root / "model.onnx")
    model.graph.node[0].output[0] = "steady"
    noise = helper.make_node("RandomUniformLike", ["steady"], ["noise"], low=-0.7, high=0.7)
    model.graph.node.extend([noise, helper.make_node("Add", ["steady", "noise"], ["scores"])])
    onnx.save(model, project.root / "model.onnx")


def test_a_baseline_that_rolls_dice_is_blamed_for_its_own_flips(tmp_path: Path) -> None:
    project = lay_down(tmp_path, LABELS, LABELS, LABELS)
    roll_dice(project)
    commit_file(project.root, "note.txt", b"dice\n")
    git(project.root, "tag", "-a", "v1.1.0", "-m", "Dice")
    project.another_candidate(0.01)
    roll_dice(project)
    project.contract("negative_flips: {at_most: 1%}")
    found = named(project.judge(), "negative_flips")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "Run twice, v1.1.0 itself flips on" in found.text
    assert "No model keeps a budget that the baseline breaks by itself" in found.text


def test_the_report_says_how_often_the_run_may_be_wrong(project: GateProject) -> None:
    project.contract("accuracy: {at_least: 80%}\nrecall[class=0]: {at_least: 80%}\nsize: {at_most: 1 MB}")
    outcome = project.judge()
    report = collect(project.release(), outcome)
    assert report.budget is not None
    assert "one of the 2 rules on samples or timings is released in at most 5 %" in report.budget
    for name in ("summary.md", "report.html"):
        text = (project.root / ".gradatim" / name).read_text(encoding="utf-8")
        assert "How often this may be wrong" in text
    recorded = json.loads((project.root / ".gradatim/report.json").read_text(encoding="utf-8"))
    assert recorded["budget"] == report.budget


def suites(path: Path) -> dict[str, ET.Element]:
    """The cases of a JUnit file by ``class/name``, once its totals are what its cases say."""
    root = ET.parse(path).getroot()  # noqa: S314 (our own file)
    assert root.tag == "testsuites"
    for suite in root:
        cases = suite.findall("testcase")
        for key, name in (
            ("tests", None),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            found = [case for case in cases if name is None or case.find(name) is not None]
            assert int(suite.get(key, "-1")) == len(found)
        assert all(case.get("name") and case.get("classname") and case.get("time") for case in cases)
    return {f"{c.get('classname')}/{c.get('name')}": c for c in root.findall("testsuite/testcase")}


def test_every_gate_and_every_check_is_a_junit_case(project: GateProject) -> None:
    gates = "accuracy: {at_least: 94%}\nrecall[class=2]: {at_least: 97%}\nrecall[class=0]: {at_least: 90%}"
    project.contract(gates)
    outcome = project.judge("production", "test")
    junit = project.root / ".gradatim/junit"
    cases = suites(junit / "gates.xml")
    assert {f"gates/{result.gate}" for result in outcome.gates} <= set(cases)
    for gate, kind in (
        ("accuracy", "failure"),
        ("recall[class=2]", "failure"),
        ("recall[class=0]", "system-out"),
    ):
        found = cases[f"gates/{gate}"]
        assert found.find(kind) is not None
        assert found.get("file") == "gradatim.yml"
        assert found.get("line")
    assert str(named(outcome, "accuracy").text) in str(cases["gates/accuracy"][0].text)
    checks = Behaviour.of(project.release().workspace.evidence("test")).checks
    assert len(checks) >= 5
    assert {f"{check.group}/{check.name}" for check in checks} == set(suites(junit / "test.xml"))
    project.judge("alpha")
    assert suites(junit / "gates.xml")["gates/accuracy"].find("skipped") is not None


@pytest.mark.parametrize("regression", ["lenient", "strict"])
def test_an_answer_that_differs_from_an_earlier_releases_golden_case_is_told_or_refused(
    tmp_path: Path, regression: str
) -> None:
    project = lay_down(tmp_path, LABELS, answers(0), answers(0))
    project.contract("accuracy: {at_least: 50%}", test=f"examples: 30, regression: {regression}")
    project.judge("production", "test")
    project.announce("v1.1.0")
    project.another_candidate(0.5)  # other scores, the same answers
    project.judge("production", "test")
    assert regression_check(project) == ("v1.1.0", "PASS", "30 golden answers as they were")
    project.another_candidate(0.5, turned=True)
    outcome = project.judge("production", "test")
    detail = "30 of 30 golden answers changed"
    verdict = "FAIL" if regression == "strict" else "PASS"
    assert regression_check(project) == ("v1.1.0", verdict, detail)
    refused = {result.gate: result.text for result in outcome.gates if result.refuses}
    assert (detail in refused.get("test[regression]", "")) == (regression == "strict")
    report = (project.root / ".gradatim/summary.md").read_text(encoding="utf-8")
    assert detail in report
    assert ("it would be refused" in report) == (regression == "lenient")


def regression_check(project: GateProject) -> tuple[str, str, str]:
    checks = Behaviour.of(project.release().workspace.evidence("test")).checks
    (found,) = [check for check in checks if check.group == "regression"]
    return found.name, found.verdict.value, found.detail


def rows_of(project: GateProject) -> dict[str, PlanRow]:
    return {row.gate: row for row in plan_gates(project.release())}


def test_the_plan_needs_no_model_and_names_what_cannot_pass(project: GateProject) -> None:
    (project.root / "model.onnx").unlink()
    project.contract(
        "accuracy: {not_worse_than: baseline, by: 1%}\nrecall: {at_least: 90%, slices: every class}\n"
        "size: {at_most: 1 MB}"
    )
    rows = rows_of(project)
    assert not rows["accuracy"].possible
    assert (rows["accuracy"].n, rows["accuracy"].least) == (ROWS, 299)
    assert "240 rows" in rows["accuracy"].text or "240 samples" in rows["accuracy"].text
    assert all(rows[f"recall[class={label}]"].possible for label in range(3))
    assert rows["size"].possible


def test_data_that_must_last_are_planned_for_at_the_error_that_leaves(project: GateProject) -> None:
    project.contract("recall: {at_least: 90%, slices: every class}")
    assert rows_of(project)["recall[class=1]"].least == 29
    project.contract("recall: {at_least: 90%, slices: every class}", data="uses: 8")
    row = rows_of(project)["recall[class=1]"]
    assert not row.possible
    assert row.least == 82
    assert "0.02 % only" in row.text


def documented() -> list[tuple[str, str]]:
    """Every gate of the table in docs/explanation/gates.md: its key and its line."""
    text = (Path(__file__).parents[2] / "docs/explanation/gates.md").read_text(encoding="utf-8")
    table = text[text.index("| line | says |") : text.index("Further keys of a line")]
    return [
        (key, value)
        for row in table.strip().splitlines()
        for key, value in re.findall(r"`([a-z0-9_]+(?:\[[^\]]+\])?): (\{[^}]+\})`", row.split("|")[1])
    ]


def test_every_gate_of_the_documentation_is_one_that_a_contract_may_state() -> None:
    lines = documented()
    assert len(lines) >= 18
    for key, value in lines:
        task = "regression" if key == "mae" else "classification"
        rule = read_rule(key, GateSection.model_validate(yaml.safe_load(value)), task, (), 1)
        assert rule.key == key


def planned(project: GateProject, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = show_plan(project.release(), json_wanted=False)
    return code, capsys.readouterr().out


def test_a_plan_tells_what_evaluation_would_stop_at(
    project: GateProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.contract("accuracy: {at_least: 80%}\nsize: {at_most: 1 MB}")
    code, said = planned(project, capsys)
    assert (code, said.count("cannot pass")) == (0, 0)
    path = project.root / "gradatim.yml"
    path.write_text(
        path.read_text()
        .replace("{type: classification, labels: [0, 1, 2]}", "regression")
        .replace("accuracy: {at_least: 80%}", "mae: {at_most: 1}")
    )
    code, said = planned(project, capsys)
    mae, size = said.splitlines()
    assert code == 2
    assert "cannot pass" in mae
    assert "gives 3 numbers an item, the labels 1" in mae
    assert " ok " in size


def test_what_stops_every_gate_is_said_once_in_a_plan(
    project: GateProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    project.contract("accuracy: {at_least: 80%}\nrecall: {at_least: 50%, slices: every class}")
    (project.root / "model.onnx").write_bytes(b"not a model")
    code, said = planned(project, capsys)
    assert code != 0
    accuracy, recall = said.splitlines()
    assert "one batch already stops: " in accuracy
    assert str(project.root) not in accuracy
    assert recall.endswith("one batch already stops, as said above.")


def test_a_plan_tells_what_evaluation_would_stop_at_though_no_gate_waits_for_it(
    project: GateProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.contract("size: {at_most: 1 MB}")
    path = project.root / "gradatim.yml"
    path.write_text(
        path.read_text().replace("{type: classification, labels: [0, 1, 2]}", "token_classification")
    )
    code, said = planned(project, capsys)
    size, task = said.splitlines()
    assert code == 3
    assert " ok " in size
    assert "would stop" in task
    assert "needs the tags" in task


def test_a_plan_forgives_as_many_misses_as_the_verdicts_of_two_forms_do(project: GateProject) -> None:
    project.contract("recall[class=0]: {at_least: 60%}")
    (alone,) = plan_gates(project.release())
    path = project.root / "gradatim.yml"
    path.write_text(
        path.read_text().replace("test.npz, ", "test.npz, calibration: test.npz, ") + "compress: {}\n"
    )
    (shared,) = plan_gates(project.release())
    told = [int(re.findall(r"forgive (\d+) misses", row.text)[0]) for row in (alone, shared)]
    assert told == [forgiven(80, 0.6, 0.05), forgiven(80, 0.6, 0.025)]
    assert told[1] < told[0]


def test_a_plan_tells_what_compression_and_corruption_would_stop_at(
    project: GateProject, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(project.root / "test.npz") as found:
        np.savez(project.root / "calibration.npz", x=found["x"][:9])
    project.contract(
        "accuracy: {at_least: 80%}", data="calibration: calibration.npz", test="robustness: [typos]"
    )
    path = project.root / "gradatim.yml"
    path.write_text(path.read_text() + "compress: {keep: {accuracy: 90%}}\n")
    code, said = planned(project, capsys)
    assert code != 0
    gate, robustness, calibration = said.splitlines()
    assert " ok " in gate
    assert "robustness" in robustness
    assert "typos" in robustness
    assert "needs labels" in calibration
    show_plan(project.release(), json_wanted=True)
    obstacles = json.loads(capsys.readouterr().out)["obstacles"]
    assert [obstacle["part"] for obstacle in obstacles] == ["robustness", "calibration"]


def test_a_plan_says_what_all_gates_need_to_pass_together(
    project: GateProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.contract("accuracy: {at_least: 80%}\nrecall[class=0]: {at_least: 80%}")
    *_, together = planned(project, capsys)[1].split("together", 1)
    assert (
        "2 gates pass together in 4 of 5 cases if each does in 90 %; `recall[class=0]` needs about"
        in " ".join(together.split())
    )
    project.contract("accuracy: {at_least: 80%}")
    assert "together" not in planned(project, capsys)[1]


def test_a_plan_needs_no_model_that_is_still_to_be_built(
    project: GateProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.contract("accuracy: {at_least: 80%}")
    path = project.root / "gradatim.yml"
    path.write_text(
        path.read_text().replace("path: model.onnx", "path: made/model.onnx, build: python train.py")
    )
    assert planned(project, capsys)[0] == 0


def test_evidence_that_rests_on_a_step_that_was_left_out_names_what_makes_all_of_it(tmp_path: Path) -> None:
    """Whoever times again and again without `compress` before gets nowhere."""
    labels = np.arange(30) % 3
    made = lay_down(tmp_path, labels, labels, labels)
    made.contract("accuracy: {at_least: 50%}")
    for step in ("build", "inspect", "evaluate"):
        run_step(step, made.release())
    told = {one.gate: one.text for one in run_step("gate", made.release()).statement.gates}
    assert told["evaluate"].endswith("Run: gradatim run --until evaluate")
    run_step("compress", made.release())
    run_step("evaluate", made.release())
    told = {one.gate: one.text for one in run_step("gate", made.release()).statement.gates}
    assert "evaluate" not in told
    assert told["test"].endswith("Run: gradatim test")


def test_what_rests_on_a_step_that_was_left_out_is_told_from_what_was_never_measured(
    project: GateProject,
) -> None:
    """As `run --only inspect --only compress --only evaluate --only gate` leaves `build` out, which all others rest on."""
    project.contract("accuracy: {at_least: 80%}\nlatency_p50: {at_most: 5 s}")
    for step in ("inspect", "compress", "evaluate"):
        run_step(step, project.release())
    told = {one.gate: one.text for one in run_step("gate", project.release()).statement.gates}
    assert "`evaluate` rests on that of `build`" in told["evaluate"]
    assert told["evaluate"].endswith("Run: gradatim run --until evaluate")
    assert "not measured" not in told["accuracy"]
    assert "evaluate" in told["accuracy"]
    for step in ("build", "inspect", "compress", "evaluate"):
        run_step(step, project.release())
    told = {one.gate: one.text for one in run_step("gate", project.release()).statement.gates}
    assert "evaluate" not in told
    assert told["accuracy"].startswith("accuracy ")
    assert "rests on that of" not in told["benchmark"]
