"""A canary on recorded requests: the good one passes, the worse, the slower and the broken one do not, and no traffic never does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from gate_project import GateProject, lay_down, write_model
from registry_examples import IDENTITY, commit_file, release_files

from gradatim.checks.canary import judge_replay, rules_of
from gradatim.checks.replay import Exchange
from gradatim.cli import cli
from gradatim.contract.reading import contract_of
from gradatim.errors import UsageError
from gradatim.gates.verdict import Verdict
from gradatim.registry.tagging import announce
from gradatim.subversion import checkout

ANSWERS = np.arange(240) % 3
LAX = "\ncanary: {errors: {not_worse_than: baseline, by: 5%}, agreement: {at_least: 90%}}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    made = lay_down(tmp_path, ANSWERS, ANSWERS, ANSWERS)
    made.contract("accuracy: {at_least: 20%}")
    path = made.root / "gradatim.yml"
    path.write_text(path.read_text() + LAX)
    monkeypatch.chdir(made.root)
    rows = np.load(made.root / "test.npz")["x"]
    lines = [json.dumps({"x": row.tolist()}) for row in rows]
    (made.root / "requests.jsonl").write_text("\n".join(lines) + "\n")
    return made


def canary(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["canary", *arguments, "--json"], standalone_mode=False)


def told(done: Result) -> dict[str, Any]:
    assert done.exception is None, done.exception
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "by": {gate["gate"]: gate["verdict"] for gate in found["gates"]}}


def test_a_candidate_that_answers_as_the_release_does_passes(project: GateProject) -> None:
    done = canary("--replay", "requests.jsonl")
    found = told(done)
    assert done.return_value == 0, found
    assert found["by"] == {"errors": "PASS", "agreement": "PASS"}
    assert (found["requests"], found["failed"], found["baseline"]) == (240, 0, "v1.0.0")


def test_a_candidate_that_answers_otherwise_is_refused(project: GateProject) -> None:
    project.another_candidate(0.5, turned=True)
    done = canary("--replay", "requests.jsonl")
    assert done.return_value == 1
    assert told(done)["by"]["agreement"] == "FAIL"


def test_every_request_that_the_candidate_cannot_take_is_a_failure(project: GateProject) -> None:
    """Both nets take six numbers, and these requests bring five."""
    write_model(project.root / "model.onnx", "new", 0.2)
    rows = [json.loads(line) for line in (project.root / "requests.jsonl").read_text().splitlines()]
    for row in rows[:60]:
        row["x"] = row["x"][:5]
    (project.root / "short.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = told(canary("--replay", "short.jsonl"))
    assert found["failed"] == 60
    assert "short.jsonl:1" in found["first_failure"]
    assert found["by"]["errors"] == "PASS"  # the release fails on them, too


def test_requests_of_a_protocol_an_access_log_and_a_browser_are_understood(project: GateProject) -> None:
    rows = np.load(project.root / "test.npz")["x"]
    v2 = [
        {"inputs": [{"name": "x", "shape": [2, 6], "datatype": "FP32", "data": pair.ravel().tolist()}]}
        for pair in rows.reshape(-1, 2, 6)
    ]
    log = [{"status": 200, "request_body": json.dumps(body)} for body in v2]
    log.insert(3, {"status": 200, "request_body": "-"})  # a health check
    (project.root / "log.jsonl").write_text("\n".join(map(json.dumps, log)))
    assert told(canary("--replay", "log.jsonl"))["requests"] == 120
    entries = [{"request": {"postData": {"text": json.dumps({"instances": [row.tolist()]})}}} for row in rows]
    (project.root / "seen.har").write_text(json.dumps({"log": {"entries": [{"request": {}}, *entries]}}))
    found = told(canary("--replay", "seen.har"))
    assert (found["requests"], found["failed"], found["verdict"]) == (240, 0, "PASS")


def test_what_recorded_traffic_proves_worse_is_put_back_where_it_serves_and_nothing_else_is(
    project: GateProject,
) -> None:
    path = project.root / "gradatim.yml"
    told_there = {"name: small, path: model.onnx": "name: digits, path: model/digits.onnx",
                  "{branch: main}": "{branch: main, deploy: {folder: ../served}}"}  # fmt: skip
    for old, new in told_there.items():
        path.write_text(path.read_text().replace(old, new))
    commit_file(project.root, "gradatim.yml", path.read_bytes())
    for version, turned in (("v1.1.0", False), ("v1.2.0", True)):
        project.another_candidate(0.5, turned=turned)
        data = (project.root / "model.onnx").read_bytes()
        commit_file(project.root, "model/digits.onnx", data)
        files = release_files(project.root, version, data)
        announce(checkout.open(project.root), files.record, files.manifest, files.kept)
        assert CliRunner().invoke(cli, ["deploy", "production"], standalone_mode=False).return_value == 0
    served = project.root.parent / "served" / "current"
    asked = ("v1.2.0", "--replay", "requests.jsonl", "--stage", "production")
    assert (canary(*asked).return_value, served.resolve().name) == (1, "v1.2.0")  # unasked it only tells
    found = told(canary(*asked, "--roll-back"))
    assert "production is back at v1.1.0. It serves there again" in found["rolled_back"]
    assert served.resolve().name == "v1.1.0"
    assert "canary on requests.jsonl: agreement" in CliRunner().invoke(cli, ["history"]).output
    assert "does not hold it" in told(canary(*asked, "--roll-back"))["rolled_back"]
    for narrower in (asked[1:], asked[:3]):
        assert isinstance(canary(*narrower, "--roll-back").exception, UsageError)


@pytest.mark.parametrize("recording", ["", "\n\n", '{"request_body": "-"}\n', '{"x": [1, 2'])
def test_no_traffic_never_passes(recording: str, project: GateProject) -> None:
    (project.root / "none.jsonl").write_text(recording)
    done = canary("--replay", "none.jsonl")
    assert done.exception is not None
    assert "proves nothing" in str(done.exception) or "may be truncated" in str(done.exception)


REPLAY = (sys.executable, "-m", "gradatim", "canary", "--replay", "many.jsonl", "--json")


def killed_at(project: GateProject, lines: int) -> str:
    """What the record holds of a replay that was killed once so many lines of it were there."""
    folder = project.root / ".gradatim" / "canary"
    with subprocess.Popen(REPLAY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ) as child:
        for _ in range(6000):
            if any(path.read_text().count("\n") >= lines for path in folder.glob("*.jsonl")):
                break
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, "it came to its end before"
    [record] = folder.glob("*.jsonl")
    return record.read_text()


@pytest.mark.parametrize(("turned", "moments"), [(False, (1, 2, 200, 460)), (True, (200,))])
def test_a_replay_that_is_killed_at_any_moment_goes_on_and_ends_as_one_that_never_was(
    turned: bool, moments: tuple[int, ...], project: GateProject
) -> None:
    project.another_candidate(0.5, turned=turned)
    (project.root / "many.jsonl").write_text((project.root / "requests.jsonl").read_text() * 2)
    before = ""
    for moment in moments:  # no request is done; one is; many; nearly all
        after = killed_at(project, moment)
        whole = before[: before.rindex("\n") + 1] if before else ""
        assert after.startswith(whole), "what was done stays done"
        assert after.count("\n") >= moment
        before = after
    [record] = (project.root / ".gradatim" / "canary").glob("*.jsonl")
    record.write_text(before[:-7])  # the last line is cut short
    went_on = told(canary("--replay", "many.jsonl"))
    assert record.read_text().startswith(before[: before[:-7].rindex("\n")])
    assert record.read_text().count("\n") == 481, "each request was done once"
    unkilled = told(canary("--replay", "many.jsonl", "--force"))
    assert went_on == unkilled
    assert went_on["verdict"] == ("FAIL" if turned else "PASS")
    project.another_candidate(0.5, turned=not turned)  # another model: another record
    assert told(canary("--replay", "requests.jsonl"))["by"]["agreement"] == ("PASS" if turned else "FAIL")


def test_a_record_is_whole_also_where_the_disk_is_full(project: GateProject) -> None:
    (project.root / "many.jsonl").write_text((project.root / "requests.jsonl").read_text() * 2)
    before = killed_at(project, 300)
    [record] = (project.root / ".gradatim" / "canary").glob("*.jsonl")
    room = f"ulimit -f {len(before) // 2048}"  # blocks of 1024 bytes: half of the record
    done = subprocess.run(["bash", "-c", f'{room}; exec "$@"', "-", *REPLAY], capture_output=True, text=True)
    assert done.returncode not in (0, 1)
    assert "is a bug" not in done.stderr
    kept = record.read_text()
    assert kept.startswith(before[: before.rindex("\n") + 1]), "what was done stays done"


CONTRACT = "model: {name: small, path: m.onnx}\ntask: classification\ndata: {evaluation: t.npz}\n"


def exchanges(
    n: int, *, slower: float = 1.0, fails: int = 0, same: float = 1.0, seed: int = 1
) -> list[Exchange]:
    dice = np.random.default_rng(seed)
    times = dice.lognormal(-5, 0.3, (n, 2)) * [1, slower]
    agree = dice.random(n) < same
    return [
        Exchange(float(a), None if i < fails else float(b), bool(agree[i]) and i >= fails)
        for i, (a, b) in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (exchanges(2000), {"errors": Verdict.PASS, "agreement": Verdict.PASS, "latency_p50": Verdict.PASS}),
        (exchanges(2000, slower=1.5), {"latency_p50": Verdict.FAIL}),
        (exchanges(2000, fails=100), {"errors": Verdict.FAIL}),
        (exchanges(2000, same=0.7), {"agreement": Verdict.FAIL}),
        (exchanges(30), {"errors": Verdict.INCONCLUSIVE, "latency_p50": Verdict.INCONCLUSIVE}),
        ([Exchange(None, 0.1, False)] * 500, {"errors": Verdict.INVALID, "agreement": Verdict.FAIL}),
        ([Exchange(0.1, None, False)] * 500, {"errors": Verdict.FAIL, "agreement": Verdict.FAIL}),
    ],
)
def test_a_replay_is_judged_by_what_it_proves(
    made: list[Exchange], wanted: dict[str, Verdict], tmp_path: Path
) -> None:
    contract = contract_of(CONTRACT, tmp_path / "gradatim.yml")
    found = {result.gate: result.verdict for result in judge_replay(rules_of(contract, None), made, "v1.0.0")}
    assert wanted.items() <= found.items(), found


def test_gates_on_traffic_are_read_as_strictly_as_any(tmp_path: Path) -> None:
    from gradatim.errors import ContractError

    with pytest.raises(
        ContractError, match=r"gradatim.yml:5:\d+: unknown gate `errros`.*Did you mean `errors`"
    ):
        contract_of(CONTRACT + "canary:\n  errros: {at_most: 1%}\n", tmp_path / "gradatim.yml")
    with pytest.raises(ContractError, match="no finite number of samples"):
        contract_of(CONTRACT + "canary:\n  errors: {at_most: 0%}\n", tmp_path / "gradatim.yml")
    read = contract_of(CONTRACT + "canary:\n  errors: {at_most: 0.5%}\n", tmp_path / "gradatim.yml")
    [rule] = rules_of(read, None)
    assert (rule.metric, rule.bound, rule.amount, rule.line) == ("errors", "at_most", 0.005, 5)
