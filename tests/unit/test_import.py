"""Results of lm-eval, Inspect and promptfoo as predictions of candidate and baseline: read strictly, paired by row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_project import GateProject, lay_down

from gradatim.data.harness import read_run
from gradatim.errors import InvalidInput, UsageError
from gradatim.evidence.found import Evaluated
from gradatim.gates.verdict import Verdict
from gradatim.metrics.diagnostics import FlippedAnswer
from gradatim.steps import evaluate

Change = Callable[[Any], Any]
CONTRACT = """
model: {name: small, path: model.onnx}
data: {slices: [topic]}
task: {type: generation, scorers: %s}
test: {abnormal: skip}
evaluate: {import: {path: new.json, baseline: old.json}}
gates: {%s: {not_worse_than: baseline, by: 5%%}}
stages: {production: {branch: main}}
"""


def lm_eval(right: list[int], change: Change = lambda rows: rows) -> str:
    """As ``--log_samples`` writes it: a line a document."""
    rows = [
        {
            "doc_id": row, "doc": {"question": f"q{row}", "topic": "even" if row % 2 == 0 else "odd"}, "target": " a",
            "arguments": {"gen_args_0": {"arg_0": f"q{row}", "arg_1": {"until": ["\n"], "do_sample": False}}},
            "resps": [["a"]], "filtered_resps": ["a"], "filter": "none", "metrics": ["exact_match"],
            "doc_hash": f"d{row}", "prompt_hash": f"p{row}", "target_hash": "t", "exact_match": float(one),
        }
        for row, one in enumerate(right)
    ]  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in change(rows))


def inspect(right: list[int], change: Change = lambda log: log) -> str:
    """As Inspect's json log writes it."""
    log = {
        "version": 2, "status": "success",
        "eval": {"task": "capitals", "task_version": 0, "model": "hf/x", "task_args": {}, "config": {"epochs": 1}},
        "plan": {"config": {"temperature": 0.0}},
        "samples": [
            {
                "id": row, "epoch": 1, "input": f"q{row}", "target": "a", "metadata": {"topic": "even" if row % 2 == 0 else "odd"},
                "output": {"completion": "a"}, "scores": {"exact_match": {"value": "C" if one else "I"}},
            }
            for row, one in enumerate(right)
        ],
    }  # fmt: skip
    return json.dumps(change(log))


def promptfoo(right: list[int], change: Change = lambda said: said) -> str:
    """As ``promptfoo eval -o results.json`` writes it."""
    rows = [
        {
            "testIdx": row, "promptIdx": 0, "provider": {"id": "http://x"}, "prompt": {"raw": f"q{row}"},
            "vars": {"topic": "even" if row % 2 == 0 else "odd"}, "response": {"output": "a"}, "success": bool(one),
            "score": float(one), "namedScores": {"exact_match": float(one)},
        }
        for row, one in enumerate(right)
    ]  # fmt: skip
    said = {
        "evalId": "e",
        "config": {"providers": [{"id": "x", "config": {"temperature": 0}}]},
        "results": {"version": 3, "results": rows},
    }
    return json.dumps(change(said))


WRITERS = {"lm-eval": lm_eval, "inspect": inspect, "promptfoo": promptfoo}
GOOD, WORSE = [1] * 190 + [0] * 10, [1] * 150 + [0] * 50


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    labels = np.arange(6) % 3
    return lay_down(tmp_path, labels, labels, labels)


def told(
    project: GateProject, old: str, new: str, scorers: str = "[exact_match]", gate: str = "exact_match"
) -> GateProject:
    (project.root / "gradatim.yml").write_text(CONTRACT % (scorers, gate))
    (project.root / "old.json").write_text(old)
    (project.root / "new.json").write_text(new)
    return project


@pytest.mark.parametrize("harness", WRITERS)
def test_a_teams_own_harness_gets_our_verdict(harness: str, project: GateProject) -> None:
    write = WRITERS[harness]
    outcome = told(project, write(GOOD), write(WORSE)).judge()
    (gate,) = [gate for gate in outcome.gates if gate.gate == "exact_match"]
    assert gate.verdict is Verdict.FAIL, gate.text
    again = told(project, write(GOOD), write(GOOD)).judge()
    assert [gate.verdict for gate in again.gates if gate.gate == "exact_match"] == [Verdict.PASS]
    statement = project.release().workspace.statement("evaluate")
    assert statement is not None
    first, second = Evaluated.of(statement).imported
    assert (first.harness, first.variant, second.variant) == (harness, "original", "baseline")
    assert "0" in first.settings or "until" in first.settings
    assert {m.where for m in statement.measurements if m.name == "exact_match"} == {
        None,
        "topic=even",
        "topic=odd",
    }


def heard(words: list[str]) -> Change:
    """Of lm-eval's rows what was answered, where "a quick fox runs home" is right."""

    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**row, "target": "a quick fox runs home", "filtered_resps": [words[place % len(words)]]}
            for place, row in enumerate(rows)
        ]

    return change


@pytest.mark.parametrize("scorer", ["wer", "bleu"])
def test_what_is_of_all_rows_together_is_made_of_imported_answers(scorer: str, project: GateProject) -> None:
    pytest.importorskip("jiwer")
    old, new = (
        lm_eval(GOOD, heard(words))
        for words in (["a quick fox runs home"], ["a quick fox runs home", "a quick box runs home"])
    )
    outcome = told(project, old, new, f"[{scorer}]", scorer).judge()
    (gate,) = [gate for gate in outcome.gates if gate.gate == scorer]
    assert gate.verdict is Verdict.FAIL, gate.text
    statement = project.release().workspace.statement("evaluate")
    assert statement is not None
    (found,) = [m for m in statement.measurements if (m.label, m.variant) == (scorer, "original")]
    if scorer == "wer":
        assert found.value == pytest.approx(1 / 10)
    asserts = told(project, promptfoo(GOOD), promptfoo(GOOD), f"[{scorer}]", scorer)
    with pytest.raises(InvalidInput, match=r"gradatim\.yml:\d+:.*no reference that is a text"):
        evaluate.run(asserts.release())


def changed(**values: Any) -> Change:
    """Of lm-eval's rows, the second one's values."""

    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[1] |= values
        return rows

    return change


SAMPLED = {"gen_args_0": {"arg_0": "q", "arg_1": {"do_sample": True}}}


@pytest.mark.parametrize(
    ("new", "match"),
    [
        (lm_eval(GOOD, changed(doc_id=0)), "the id 0 stands twice"),
        (lm_eval(GOOD, lambda rows: rows[:-1]), "not of the same rows: 199"),
        (lm_eval(GOOD, changed(exact_match=float("nan"))), "`exact_match` is nan"),
        (lm_eval(GOOD, changed(exact_match=None)), "not a finite number"),
        (lm_eval(GOOD, changed(prompt_hash="another")), "prompt of 1 differs"),
        (lm_eval(GOOD, changed(arguments=SAMPLED)), "a run has one way"),
        (
            lm_eval(GOOD, lambda rows: [{**row, "arguments": SAMPLED} for row in rows]),
            "different settings: `sampling`",
        ),
        (
            lm_eval(GOOD, lambda rows: [{**row, "filter": "strict"} for row in rows]),
            "different settings: `filters`",
        ),
        (lm_eval(GOOD)[:-40], "not valid JSON"),
        (lm_eval(GOOD, changed(target=" b")), "1 was scored against"),
        (lm_eval(GOOD, changed(metrics=[])), "doc_id 1 has no score"),
        (lm_eval(GOOD, changed(exact_match=10**400)), "not a finite number"),
        (inspect(GOOD), "are of inspect"),
        ("", "empty"),
        ("[]", "no sample of lm-eval"),
        ("{}", "no sample of lm-eval"),
    ],
)
def test_runs_that_cannot_be_compared_are_invalid_by_name(new: str, match: str, project: GateProject) -> None:
    told(project, lm_eval(GOOD), new)
    with pytest.raises(InvalidInput, match=match):
        evaluate.run(project.release())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (inspect(GOOD, lambda log: {**log, "status": "cancelled"}), "only a whole run"),
        (inspect(GOOD, lambda log: {**log, "samples": log["samples"] * 2}), "stands twice"),
        (inspect(GOOD, lambda log: {**log, "samples": []}), "no row"),
        (inspect(GOOD, lambda log: {**log, "samples": [{"id": 1}]}), "not laid out"),
        (promptfoo(GOOD, lambda said: {**said, "results": {"results": [{"testIdx": 1}]}}), "not laid out"),
    ],
)
def test_a_results_file_that_is_not_whole_is_refused(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InvalidInput, match=match):
        read_run(tmp_path / "results.json")


def test_several_providers_are_several_runs(tmp_path: Path) -> None:
    def two(said: Any) -> Any:
        said["results"]["results"][1]["provider"] = {"id": "other"}
        return said

    (tmp_path / "results.json").write_text(promptfoo(GOOD, two))
    with pytest.raises(InvalidInput, match="several providers"):
        read_run(tmp_path / "results.json")


def test_a_request_that_failed_stays_a_row(project: GateProject) -> None:
    def failed(said: Any) -> Any:
        for row in said["results"]["results"][:20]:
            row |= {"response": {"error": "429"}, "success": False, "namedScores": {}}
        return said

    told(project, promptfoo(GOOD), promptfoo([1] * 200, failed))
    outcome = evaluate.run(project.release())
    found = {m.variant: m for m in outcome.measurements if m.name == "exact_match" and m.where is None}
    assert (found["original"].value, found["original"].n) == (0.9, 200)
    assert "; 20 requests failed (the harness got no answer)" in outcome.summary


@pytest.mark.parametrize("harness", WRITERS)
def test_answers_that_flipped_are_shown_of_any_harness(harness: str, project: GateProject) -> None:
    told(project, WRITERS[harness](GOOD), WRITERS[harness](WORSE))
    contract = project.root / "gradatim.yml"
    contract.write_text(contract.read_text().replace("evaluate: {", "evaluate: {show: 3, "))
    found = evaluate.run(project.release()).found
    assert isinstance(found, Evaluated)
    reference = {"lm-eval": " a", "inspect": "a", "promptfoo": "null"}[harness]
    assert found.flipped == (FlippedAnswer("", reference, "a", "a", lost=True),) * 3


def test_epochs_of_one_question_are_one_unit(project: GateProject) -> None:
    def thrice(log: Any) -> Any:
        log["samples"] = [{**sample, "epoch": epoch} for sample in log["samples"] for epoch in (1, 2, 3)]
        return log

    told(project, inspect(GOOD, thrice), inspect(GOOD, thrice))
    found = [
        m for m in evaluate.run(project.release()).measurements if m.name == "exact_match" and m.where is None
    ]
    assert {m.n for m in found} == {200}


def test_a_release_to_compare_with_needs_its_own_results(project: GateProject) -> None:
    told(project, lm_eval(GOOD), lm_eval(GOOD))
    contract = project.root / "gradatim.yml"
    contract.write_text(contract.read_text().replace("{path: new.json, baseline: old.json}", "new.json"))
    with pytest.raises(UsageError, match=r"v1\.0\.0 would be replaced"):
        evaluate.run(project.release())


def test_filters_of_one_task_are_scores_apart(tmp_path: Path) -> None:
    def both(rows: list[Any]) -> list[Any]:
        return [{**row, "filter": name} for row in rows for name in ("strict-match", "flexible-extract")]

    (tmp_path / "samples.jsonl").write_text(lm_eval([1, 0], both))
    run = read_run(tmp_path / "samples.jsonl")
    assert [sorted(row.scores) for row in run.rows] == [
        ["exact_match_flexible_extract", "exact_match_strict_match"]
    ] * 2


def logged(**about: Any) -> Change:
    return lambda log: {**log, "eval": {**log["eval"], **about}}


def stepped(shots: int) -> Change:
    return lambda log: {
        **log,
        "plan": {**log["plan"], "steps": [{"solver": "few_shot", "params": {"n": shots}}]},
    }


def asserting(value: str) -> Change:
    def change(said: Any) -> Any:
        for row in said["results"]["results"]:
            row["testCase"] = {"assert": [{"type": "contains", "value": value}]}
        return said

    return change


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (inspect(GOOD, stepped(5)), inspect(GOOD, stepped(0)), "different settings: `steps`"),
        (
            inspect(GOOD, logged(scorers=[{"name": "match", "options": {"location": "end"}}])),
            inspect(GOOD, logged(scorers=[{"name": "match", "options": {"location": "any"}}])),
            "different settings: `scorers`",
        ),
        (
            inspect(GOOD, logged(model_generate_config={"temperature": 0})),
            inspect(GOOD, logged(model_generate_config={"temperature": 1})),
            "different settings: `model`",
        ),
        (promptfoo(GOOD, asserting("a")), promptfoo(GOOD, asserting("")), "0.0 was scored against"),
    ],
)
def test_runs_that_were_asked_or_scored_in_two_ways_are_not_compared(
    old: str, new: str, match: str, project: GateProject
) -> None:
    told(project, old, new)
    with pytest.raises(InvalidInput, match=match):
        evaluate.run(project.release())


def unscored(log: Any) -> Any:
    log["samples"][3]["scores"] = {}
    return log


def fewer(log: Any) -> Any:
    return {**log, "samples": log["samples"][:-9], "results": {"total_samples": len(log["samples"])}}


def fewer_results(said: Any) -> Any:
    said["results"]["stats"] = {"successes": 190, "failures": 10, "errors": 0}
    said["results"]["results"] = said["results"]["results"][:-9]
    return said


def two_ways(said: Any) -> Any:
    for row in said["results"]["results"][::2]:
        row["provider"] = {"id": "http://x", "label": "hot"}
    return said


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (inspect(GOOD, unscored), "sample 3 has no score"),
        (inspect(GOOD, fewer), "holds 191 rows, and says itself that there were 200"),
        (promptfoo(GOOD, fewer_results), "holds 191 rows, and says itself that there were 200"),
        (promptfoo(GOOD, two_ways), "several providers"),
    ],
)
def test_rows_and_scores_that_are_missing_are_told_by_the_file_itself(
    text: str, match: str, tmp_path: Path
) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InvalidInput, match=match):
        read_run(tmp_path / "results.json")


def test_the_count_of_the_results_beside_the_samples_is_held_to(tmp_path: Path) -> None:
    (tmp_path / "samples_capitals_2026-11-01T10-00-00.123.jsonl").write_text(lm_eval(GOOD))
    said = {"n-shot": {"capitals": 0}, "n-samples": {"capitals": {"original": 1319, "effective": 210}}}
    (tmp_path / "results_2026-11-01T10-00-00.123.json").write_text(json.dumps(said))
    with pytest.raises(InvalidInput, match="holds 200 rows, and says itself that there were 210"):
        read_run(tmp_path / "samples_capitals_2026-11-01T10-00-00.123.jsonl")


def test_a_line_of_text_may_hold_what_unicode_takes_for_the_end_of_one(tmp_path: Path) -> None:
    rows = lm_eval([1, 0], changed(filtered_resps=["one\u2028two\x85three"]))
    as_written = "".join(
        json.dumps(json.loads(line), ensure_ascii=False) + "\n" for line in rows.splitlines()
    )
    (tmp_path / "samples.jsonl").write_text(as_written)
    assert len(read_run(tmp_path / "samples.jsonl").rows) == 2


def test_what_only_a_mean_is_made_of_is_no_score_of_a_row(tmp_path: Path) -> None:
    """``f1`` and perplexities of lm-eval are pairs, of which all rows together make a number."""
    pairs = [
        {**row, "metrics": ["exact_match", "f1"], "f1": [0, 1]}
        for row in map(json.loads, lm_eval(GOOD).splitlines())
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    assert {tuple(row.scores) for row in read_run(tmp_path / "samples.jsonl").rows} == {("exact_match",)}


def test_an_id_that_stands_twice_among_very_many_is_found_at_once(tmp_path: Path) -> None:
    rows = inspect([1] * 60_000, lambda log: {**log, "samples": [*log["samples"], log["samples"][-1]]})
    (tmp_path / "log.json").write_text(rows)
    with pytest.raises(InvalidInput, match="59999#1 stands twice"):
        read_run(tmp_path / "log.json")


def test_a_baselines_results_that_are_not_there_are_named_at_a_first_release_too(
    project: GateProject,
) -> None:
    told(project, lm_eval(GOOD), lm_eval(GOOD))
    (project.root / "old.json").unlink()
    root = project.root
    with (root / "gradatim.yml").open("a") as contract:
        contract.write("registry: {tags: named}\n")  # nothing was released under such a name
    first = project.release()
    assert first.replaced.release is None
    with pytest.raises(
        InvalidInput, match=r"gradatim\.yml:6: there are no results at old\.json.*first release"
    ):
        evaluate.run(first)
