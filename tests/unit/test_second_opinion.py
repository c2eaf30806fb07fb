"""A second opinion: verdicts made again, and the gates of others, from a release's evidence alone."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_project import GateProject, lay_down
from registry_examples import act_as_ada, commit_file

from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.contract.policy import read_policy
from gradatim.contract.reading import read_contract
from gradatim.errors import BrokenEvidence, ContractError
from gradatim.evidence.assembly import assemble
from gradatim.evidence.codec import encode
from gradatim.evidence.finding import Finding
from gradatim.evidence.found import Judged
from gradatim.evidence.opinion import asked_of, judged_by, replayed
from gradatim.evidence.statement import Bundle, Statement
from gradatim.gates.case import Case, CorruptionScores
from gradatim.gates.judge import judge
from gradatim.gates.recording import grounds_of
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.pipeline.step import run_step
from gradatim.publishers.folder import FolderPublisher
from gradatim.publishers.retrieval import committed_paths
from gradatim.releasing.publishing import publish

pytest.importorskip("onnxruntime")

STEPS = ("build", "inspect", "compress", "test", "evaluate", "benchmark", "gate")
LABELS = np.arange(600) % 3
GATES = """\
agreement: {at_least: 85%}
recall: {at_least: 85%, slices: every class}
f1_macro: {at_least: 90%}
log_loss: {at_most: 100% of baseline}
f1_micro: {not_worse_than: baseline, by: 3%}
balanced_accuracy: {not_worse_than: baseline, by: 3%}
precision: {not_worse_than: baseline, by: 8%, slices: every class, veto: true}
negative_flips: {at_most: 4%}
robustness[feature_noise]: {not_worse_than: baseline, by: 15%}
accuracy: {at_least: 95%, slices: every site}
size: {at_most: 1 MB}
latency_p50: {not_slower_than: baseline, by: 500%}
latency_mean: {at_most: 1 s}
"""


def misses(of: int, start: int) -> np.ndarray:
    """Right answers but for so many rows from a place on."""
    found = LABELS.copy()
    found[start : start + of] = (LABELS[start : start + of] + 1) % 3
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> GateProject:
    """A candidate that misses 10 of 600 rows where v1.0.0 misses 30, judged by gates of every kind without a clock."""
    folder = tmp_path_factory.mktemp("opinion")
    site = {"site": np.array(["north", "south"])[LABELS // 2]}
    project = lay_down(folder, LABELS, misses(30, 0), misses(10, 100), site)
    project.contract(GATES, data="slices: [site]", test="robustness: [feature_noise]")
    with (project.root / "gradatim.yml").open("a") as contract:
        contract.write("benchmark: {rounds: 6}\n")
    for step in STEPS:
        run_step(step, project.release())
    return project


@pytest.fixture
def evidence(project: GateProject) -> Bundle:
    statements = (project.release().workspace.statement(step) for step in STEPS)
    return Bundle(tuple(statement for statement in statements if statement is not None))


def altered(evidence: Bundle, change: Any) -> Bundle:
    """The evidence as somebody left it who changed what `gate` wrote."""
    (gate,) = evidence.of("gate")
    record = json.loads(gate.to_bytes())
    change(record["predicate"])
    others = tuple(statement for statement in evidence.statements if statement.step != "gate")
    return Bundle((*others, Statement.from_bytes(json.dumps(record).encode(), "gate.json")))


def names(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.problem, finding.where) for finding in findings]


def test_every_verdict_of_a_release_is_made_again_from_its_evidence(evidence: Bundle) -> None:
    (gate,) = evidence.of("gate")
    assert {found.verdict for found in gate.gates} == {Verdict.PASS}, [
        g.text for g in gate.gates if g.refuses
    ]
    told, findings = replayed(evidence, "original")
    assert findings == []
    assert told.startswith(f"{len(gate.gates)} verdicts")


def test_robustness_that_is_asked_of_every_corruption_is_made_again_where_scores_are_not_kept() -> None:
    rows = np.abs(np.cos(np.arange(80)[:, None] * [0.01, 0.011]))
    blurred = {name: CorruptionScores(name, (1, 2), rows) for name in ("blur", "fog")}
    case, rules = Case("v", robustness=blurred), [Rule("robustness", "robustness", "at_least", 0.4)]
    results = judge(rules, case)
    assert [one.gate for one in results] == ["robustness[blur]", "robustness[fog]"]
    told = Judged("v", {}, None, "", grounds_of(rules, case, results, on_inconclusive="fail"))
    verdicts = Statement(
        "gate", {"v": "a" * 64}, Verdict.PASS, "1", gates=tuple(results), details=encode(told)
    )
    assert replayed(Bundle((verdicts,)), "v") == ("2 verdicts, made again from the evidence", [])
    less = Statement(
        "gate", {"v": "a" * 64}, Verdict.PASS, "1", gates=tuple(results[:1]), details=encode(told)
    )
    assert names(replayed(Bundle((less,)), "v")[1]) == [("altered verdict", "robustness[fog]")]


def test_what_inspect_found_of_the_model_stands_for_the_form_that_was_made_from_it() -> None:
    size = (Measurement("size", "int8", 4.0, "B"),)
    rules, case = [Rule("size", "size", "at_most", 9.0)], Case("int8", list(size))
    judged = judge(rules, case)
    told = Judged("int8", {}, None, "", grounds_of(rules, case, judged, on_inconclusive="fail"))
    template = GateResult("one_bos", "one_bos", Verdict.PASS, "original", "one bos", "It begins with one.")

    def told_of(*inspected: GateResult) -> list[tuple[str, str]]:
        looked = Statement("inspect", {"original": "b" * 64}, Verdict.PASS, "1", gates=(template,))
        found = (*inspected, *judged)
        gate = Statement("gate", {"int8": "a" * 64}, Verdict.PASS, "1", {}, size, found, details=encode(told))
        return names(replayed(Bundle((looked, gate)), "int8")[1])

    assert told_of(template) == []
    assert told_of() == [("altered verdict", "one_bos")]
    assert told_of(replace(template, blocking=False)) == [("altered verdict", "one_bos")]
    other = replace(template, gate="one_dtype", rule="one_dtype")
    assert told_of(template, other) == [("altered verdict", "one_dtype")]


def first(grounds: Any, metric: str, where: str | None = None) -> Any:
    return next(s for s in grounds["samples"] if (s["metric"], s.get("where")) == (metric, where))


ALTERED: dict[str, tuple[Any, str]] = {
    "a FAIL that was made a PASS": (
        lambda p: first(p["details"]["grounds"], "recall", "class=1").update(successes=160, value=0.8),
        "recall[class=1]",
    ),
    "a count that its value refutes": (
        lambda p: first(p["details"]["grounds"], "recall", "class=1").update(successes=200),
        "recall[class=1]",
    ),
    "more gains than there are rows": (
        lambda p: first(p["details"]["grounds"], "f1_micro")["beside"].update(gains=9000),
        "f1_micro",
    ),
    "losses that were taken away": (
        lambda p: first(p["details"]["grounds"], "f1_micro")["beside"].update(losses=0),
        "f1_micro",
    ),
    "an interval": (
        lambda p: first(p["details"]["grounds"], "f1_macro")["bounds"].update(low=0.5),
        "f1_macro",
    ),
    "a bound that was lowered after the fact": (
        lambda p: p["details"]["grounds"]["rules"][0].update(amount=0.2),
        "agreement",
    ),
    "a gate that was taken out": (lambda p: p["gates"].pop(0), "agreement"),
    "a gate that nobody asked for": (
        lambda p: p["gates"].append({**p["gates"][0], "gate": "recall[class=7]"}),
        "recall[class=7]",
    ),
    "rounds of a benchmark": (
        lambda p: p["details"]["grounds"]["timed"]["ratios"].update(latency_p50=[2.0, 2.1, 2.2, 2.0, 2.3]),
        "latency_p50",
    ),
    "a level": (
        lambda p: p["details"]["grounds"]["timed"]["rounds"].update(latency_mean=[2.0, 2.1, 2.2]),
        "latency_mean",
    ),
    "rows under a corruption": (
        lambda p: p["details"]["grounds"]["scores"]["feature_noise"]["rows"][0].__setitem__(0, 400),
        "robustness[feature_noise]",
    ),
    "a verdict of the step": (lambda p: p.update(verdict="INCONCLUSIVE"), "gate"),
    "what a number was": (lambda p: p["gates"][0].update(value=0.999), "agreement"),
}


@pytest.mark.parametrize("change", ALTERED)
def test_a_verdict_that_its_evidence_does_not_give_is_named(evidence: Bundle, change: str) -> None:
    alter, named = ALTERED[change]
    _, findings = replayed(altered(evidence, alter), "original")
    assert ("altered verdict", named) in names(findings), findings


def test_a_gate_that_was_made_to_warn_alone_is_named_for_that(evidence: Bundle) -> None:
    _, (finding,) = replayed(altered(evidence, lambda p: p["gates"][0].update(blocking=False)), "original")
    assert (finding.problem, finding.where) == ("altered verdict", "agreement")
    assert (
        finding.text
        == "The gate agreement is marked as one that only warns, and its evidence gives one that blocks."
    )


@pytest.mark.parametrize(
    "rows", [[["a"]], [[1, 0]], [[-3, *[0] * 10]], [[10**30, *[0] * 10]], [[1, *[0] * 10], [1]]]
)
def test_grounds_that_cannot_be_are_named_and_never_a_traceback(evidence: Bundle, rows: Any) -> None:
    broken = altered(evidence, lambda p: p["details"]["grounds"]["scores"]["feature_noise"].update(rows=rows))
    try:
        _, findings = replayed(broken, "original")
    except BrokenEvidence:
        return
    assert "altered verdict" in {finding.problem for finding in findings}


def test_evidence_without_grounds_is_told_apart_from_what_was_altered(evidence: Bundle) -> None:
    old = altered(evidence, lambda p: p["details"].pop("grounds"))
    for _, findings in (replayed(old, "original"), judged_by((), old, "original", "theirs.yml")):
        assert [finding.problem for finding in findings] == ["untold verdict"]


def policy(evidence: Bundle, folder: Path, gates: str) -> list[Finding]:
    path = folder / "theirs.yml"
    path.write_text(f"gates:\n  {gates}\n")
    grounds = asked_of(evidence)
    assert grounds is not None
    return judged_by(read_policy(path, grounds.task), evidence, "original", path.name)[1]


@pytest.mark.parametrize("gate", [
    "accuracy: {at_least: 95%}", "recall[class=1]: {at_least: 94%}", "accuracy[site=south]: {at_least: 95%}",
    "accuracy: {not_worse_than: baseline, by: 1%}", "recall: {not_worse_than: baseline, by: 4%, slices: every class}",
    "f1_macro: {at_least: 95%}", "size: {at_most: 100 kB}", "latency_p95: {not_slower_than: baseline, by: 900%}",
    "balanced_accuracy: {not_worse_than: baseline, by: 1%}", "accuracy: {at_least: 99% of baseline}",
    "robustness[feature_noise]: {at_least: 50%, severity: 3}", "roc_auc: {at_least: 60%}",
])  # fmt: skip
def test_whoever_receives_a_release_may_ask_what_nobody_asked_before(
    evidence: Bundle, tmp_path: Path, gate: str
) -> None:
    assert policy(evidence, tmp_path, gate) == []


@pytest.mark.parametrize("gate", [
    "accuracy: {at_least: 99%}", "recall[class=1]: {at_least: 98%}", "f1_macro: {at_least: 99%}", "size: {at_most: 10 B}",
    "f1_macro: {at_least: 95%, confidence: 99.9%}",  # surer than anybody measured
    "balanced_accuracy: {at_least: 110% of baseline}", "latency_mean: {at_most: 1 ns}", "memory: {at_most: 1 B}",
    "accuracy[class=7]: {at_least: 10%}", "robustness[fog]: {at_least: 1%}", "roc_auc: {not_worse_than: baseline, by: 50%}",
    "negative_flips: {at_most: 0.5%}",
])  # fmt: skip
def test_what_the_evidence_does_not_prove_to_others_is_refused_with_their_line(
    evidence: Bundle, tmp_path: Path, gate: str
) -> None:
    (finding,) = policy(evidence, tmp_path, gate)
    assert finding.problem == "refused gate"
    assert finding.where == "theirs.yml:2"


@pytest.mark.parametrize("text", ["", "gates: {}", "gates: [accuracy]", "model: x", "gates: {acuracy: {at_least: 9%}}", "gates: {accuracy: {}}", "a: [", "gates:\n  accuracy: {at_least: 90%}\nstages: {}"])  # fmt: skip
def test_a_policy_that_says_nothing_or_something_wrong_is_refused_as_a_contract_is(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "theirs.yml"
    path.write_text(text)
    with pytest.raises(ContractError, match=r"theirs\.yml:[123]"):
        read_policy(path, None)


@pytest.fixture(scope="module")
def telling(project: GateProject) -> Bundle:
    """The evidence of the same candidate where the contract lets its releases tell of each row."""
    path = project.root / "telling.yml"
    path.write_text((project.root / "gradatim.yml").read_text() + "publish: {outcomes: true}\n")
    candidate = Candidate(read_contract(path), ci.detect(), None)
    run_step("gate", candidate)
    statements = [candidate.workspace.statement(step) for step in STEPS]
    run_step("gate", project.release())  # and judged again without
    return Bundle(tuple(statement for statement in statements if statement is not None))


def rows_of(text: str, n: int) -> np.ndarray:
    """As anybody reads them who has nothing but the documentation."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n).astype(bool)


def test_a_release_may_tell_of_each_row_whether_it_was_right_and_the_verdicts_are_made_from_that(
    telling: Bundle, evidence: Bundle
) -> None:
    told, findings = replayed(telling, "original")
    assert findings == []
    assert "agreement and f1_micro and negative_flips and recall" in told
    assert told.endswith("from one bit a row")
    assert "bit" not in replayed(evidence, "original")[0]
    (gate,) = telling.of("gate")
    samples = gate.to_json()["predicate"]["details"]["grounds"]
    both = first(samples, "f1_micro")["beside"]["outcomes"]
    assert (rows_of(both["candidate"], 600) == (misses(10, 100) == LABELS)).all()
    assert (rows_of(both["baseline"], 600) == (misses(30, 0) == LABELS)).all()
    ones = rows_of(first(samples, "recall", "class=1")["outcomes"]["candidate"], 200)
    assert (ones == (misses(10, 100) == LABELS)[LABELS == 1]).all()


def flipped(text: str) -> str:
    """The same rows but the first, which is right where it was wrong."""
    data = bytearray(base64.b64decode(text))
    data[0] ^= 0x80
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("whose", ["candidate", "baseline"])
@pytest.mark.parametrize("change", [flipped, lambda text: text[4:], lambda text: "", lambda text: "%%"])
def test_rows_that_are_not_what_was_counted_are_named(telling: Bundle, whose: str, change: Any) -> None:
    def alter(predicate: Any) -> None:
        both = first(predicate["details"]["grounds"], "f1_micro")["beside"]["outcomes"]
        both[whose] = change(both[whose])

    _, findings = replayed(altered(telling, alter), "original")
    assert ("altered verdict", "f1_micro") in names(findings)


def verify(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "gradatim", "verify", *arguments, "--offline"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_the_command_gives_a_second_opinion_of_a_folder_and_of_a_version(
    project: GateProject, evidence: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as_ada(monkeypatch)
    monkeypatch.chdir(project.root)
    candidate = project.release()
    manifest, repository = candidate.forms.original.manifest, candidate.repository
    commit = commit_file(project.root, "notes.md", b"the second")
    files = assemble(
        manifest, project.root, evidence, tag="v1.1.0", version="v1.1.0", stage="production", variant="original",
        commit=commit, previous="v1.0.0", committed=committed_paths(repository, commit, manifest, "model.onnx"),
    )  # fmt: skip
    publish(repository, files, [FolderPublisher(tmp_path / "releases", root=project.root)])
    theirs = tmp_path / "theirs.yml"
    for what in (str(tmp_path / "releases" / "v1.1.0"), "v1.1.0"):
        theirs.write_text("gates: {accuracy: {at_least: 90%}}\n")
        code, said = verify(what, "--replay", "--policy", str(theirs))
        assert code == 0, said
        assert "made again from the evidence" in said
        assert "1 of 1 gates of theirs.yml" in said
        theirs.write_text("gates: {accuracy: {at_least: 99.5%}}\n")
        code, said = verify(what, "--policy", str(theirs))
        assert code == 3
        assert "theirs.yml:1" in said
        assert "is not to be trusted" in said
