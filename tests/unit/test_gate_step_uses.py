"""Counting the uses of a test set: in git, before the evaluation, once a candidate, and never silently anew."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from gate_project import GateProject, lay_down, named
from registry_examples import clone, git, new_repository

from gradatim.candidate.outcome import Outcome
from gradatim.cli import cli
from gradatim.errors import BrokenEvidence, EnvironmentLacks, UsageError
from gradatim.evidence.found import Judged
from gradatim.gates.reuse import Charge
from gradatim.gates.verdict import Verdict
from gradatim.registry.git import Repository
from gradatim.registry.uses import USES, charge
from gradatim.registry.uses import count as count_uses

DATA = "d" * 64
LABELS = np.arange(240) % 3


def budget(outcome: Outcome) -> str:
    assert isinstance(outcome.found, Judged)
    return outcome.found.budget


def number(repository: Repository, candidate: str, **more: int) -> int:
    found = charge(repository, DATA, candidate, **more)
    assert found is not None
    return found.number


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    new_repository(tmp_path / "first", remote=tmp_path / "remote.git")
    git(tmp_path / "first", "push", "-q", "origin", "main")
    return tmp_path / "remote.git"


def machine(remote: Path, place: Path) -> Repository:
    return Repository.find(clone(remote, place))


def test_each_candidate_is_counted_once_on_whatever_machine_it_is_asked(remote: Path, tmp_path: Path) -> None:
    laptop, runner = machine(remote, tmp_path / "laptop"), machine(remote, tmp_path / "runner")
    assert [number(laptop, "a"), number(runner, "b"), number(runner, "a"), number(laptop, "c")] == [
        1,
        2,
        1,
        3,
    ]
    assert count_uses(machine(remote, tmp_path / "later"), DATA) == 3
    assert charge(runner, "e" * 64, "a") == Charge("e" * 64, "a", 1, fresh=True)


def test_runs_at_the_same_moment_get_different_numbers(remote: Path, tmp_path: Path) -> None:
    machines = [machine(remote, tmp_path / f"m{k}") for k in range(4)]
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda k=k, m=m: found.append(number(m, f"candidate {k}")))
        for k, m in enumerate(machines)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2, 3, 4]


def test_without_a_remote_the_clone_itself_counts_and_a_later_remote_learns_it(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "alone")
    alone = Repository.find(place)
    assert [number(alone, "a"), number(alone, "b")] == [1, 2]
    git(place, "init", "-q", "--bare", str(tmp_path / "remote.git"))
    git(place, "remote", "add", "origin", str(tmp_path / "remote.git"))
    again = Repository.find(place)
    assert number(again, "c") == 3
    assert git(tmp_path / "remote.git", "rev-list", "--count", f"{USES}{DATA}") == "3"


def test_a_ledger_deleted_on_the_remote_is_put_back_by_whoever_remembers(
    remote: Path, tmp_path: Path
) -> None:
    laptop = machine(remote, tmp_path / "laptop")
    assert [number(laptop, c) for c in "ab"] == [1, 2]
    git(remote, "update-ref", "-d", f"{USES}{DATA}")
    assert number(laptop, "a") == 1
    assert number(machine(remote, tmp_path / "fresh"), "c") == 3


def test_a_ledger_started_anew_or_shortened_is_refused(remote: Path, tmp_path: Path) -> None:
    laptop = machine(remote, tmp_path / "laptop")
    assert [number(laptop, c) for c in "abc"] == [1, 2, 3]
    fresh = machine(remote, tmp_path / "fresh")
    assert count_uses(fresh, DATA) == 3
    git(remote, "update-ref", "-d", f"{USES}{DATA}")
    stranger = machine(remote, tmp_path / "stranger")
    with pytest.raises(BrokenEvidence, match="an earlier release was already number 3"):
        charge(stranger, DATA, "x", known=3)
    assert number(stranger, "x") == 1  # nothing here knows better...
    with pytest.raises(BrokenEvidence, match="counted in two ways"):
        charge(laptop, DATA, "d")  # ...but this clone does
    text = git(remote, "show", f"{USES}{DATA}:uses.jsonl")
    blob = Repository.find(remote).write_blob((text + "\n").replace('"x"', '"y"').encode())
    tree = (
        Repository.find(remote)
        .run("mktree", stdin=f"100644 blob {blob}\tuses.jsonl\n".encode())
        .decode()
        .strip()
    )
    forged = git(remote, "commit-tree", "-m", "forged", "-p", f"{USES}{DATA}", tree)
    git(remote, "update-ref", f"{USES}{DATA}", forged)
    with pytest.raises(BrokenEvidence, match="lost lines"):
        charge(machine(remote, tmp_path / "last"), DATA, "z")


def test_who_may_not_write_only_looks(remote: Path, tmp_path: Path) -> None:
    laptop, fork = machine(remote, tmp_path / "laptop"), machine(remote, tmp_path / "fork")
    assert charge(fork, DATA, "a", may_write=False) is None
    assert count_uses(fork, DATA) == 0
    number(laptop, "a")
    found = charge(fork, DATA, "a", may_write=False)
    assert found is not None
    assert found.number == 1


def test_a_remote_that_declines_leaves_no_charge_behind(remote: Path, tmp_path: Path) -> None:
    laptop = machine(remote, tmp_path / "laptop")
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'you may only read' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(EnvironmentLacks):
        charge(laptop, DATA, "a")
    assert count_uses(laptop, DATA) == 0


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    pytest.importorskip("onnxruntime")
    old = LABELS.copy()
    old[:12] = (old[:12] + 1) % 3
    return lay_down(tmp_path, LABELS, old, LABELS)


GATES = "accuracy: {at_least: 90%}\nsize: {at_most: 1 MB}"


def test_candidates_are_counted_until_the_data_are_spent(project: GateProject) -> None:
    project.contract(GATES, data="uses: 2")
    first = project.judge()
    assert first.verdict is Verdict.PASS
    assert "candidate 1 of the 2 that the test set is planned for" in budget(first)
    assert budget(project.judge()) == budget(first)
    project.another_candidate(0.1)
    second = project.judge()
    assert second.verdict is Verdict.PASS
    project.another_candidate(0.2)
    third = project.judge()
    assert third.verdict is Verdict.INCONCLUSIVE
    spent = named(third, "accuracy")
    assert "planned for 2 candidates (`data.uses`), and this is number 3" in spent.text
    assert "Collect new evaluation data" in spent.text
    assert named(third, "size").verdict is Verdict.PASS  # a size says nothing about the test set
    project.another_candidate(0.1)
    assert project.judge().verdict is Verdict.PASS  # it was counted while the data still told something


def test_a_count_that_matters_makes_the_gates_stricter(project: GateProject) -> None:
    project.contract("accuracy: {at_least: 98%}")
    assert project.judge().verdict is Verdict.PASS  # 240 of 240 prove 98 % at 5 %: the bound is 98.76 %
    project.contract("accuracy: {at_least: 98%}", data="uses: 8")
    assert project.judge().verdict is Verdict.INCONCLUSIVE  # and 96.5 % at 0.02 %


def test_renaming_the_data_or_slicing_them_otherwise_starts_no_new_count(project: GateProject) -> None:
    project.contract(GATES, data="uses: 4")
    project.judge()
    (project.root / "test.npz").rename(project.root / "renamed.npz")
    contract = project.root / "gradatim.yml"
    project.contract(GATES, data="uses: 4, batch: 16")
    contract.write_text(contract.read_text().replace("test.npz", "renamed.npz"))
    project.another_candidate(0.1)
    assert "candidate 2 of the 4" in budget(project.judge())


def test_another_seed_of_the_tests_is_another_try_and_counted(project: GateProject) -> None:
    for seed, number in ((0, 1), (1, 2), (1, 2), (0, 1)):
        project.contract(GATES, data="uses: 4", test=f"seed: {seed}")
        assert f"candidate {number} of the 4" in budget(project.judge())


def test_a_fork_cannot_be_counted_and_proves_nothing_until_somebody_counts_it(
    project: GateProject, tmp_path: Path
) -> None:
    project.contract(GATES, data="uses: 4")
    fork = project.clone(tmp_path / "fork")
    found = fork.judge(fork=True)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert (
        "a pull request from a fork, or of Dependabot, may not write to this repository"
        in named(found, "accuracy").text
    )
    assert "could not be counted" in budget(found)
    assert "gradatim evaluate --force" in named(found, "accuracy").text
    project.judge()  # a maintainer, on a machine that may push
    again = project.clone(tmp_path / "again").judge(fork=True)
    assert again.verdict is Verdict.PASS


def test_a_remote_out_of_reach_is_named_and_nothing_is_proven(project: GateProject) -> None:
    project.contract(GATES, data="uses: 4")
    project.judge()
    project.another_candidate(0.1)
    project.remote.rename(project.remote.with_suffix(".gone"))
    found = named(project.judge(), "accuracy")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "could not be used" in found.text


def test_a_ledger_deleted_everywhere_is_missed_by_the_releases_that_were_counted(
    project: GateProject,
) -> None:
    project.contract(GATES, data="uses: 4")
    project.judge()
    project.another_candidate(0.1)
    project.judge()
    project.announce("v1.1.0")
    (ref,) = git(project.root, "for-each-ref", "--format=%(refname)", USES).split()
    for place in (project.root, project.remote):
        git(place, "update-ref", "-d", ref)
    project.another_candidate(0.2)
    with pytest.raises(BrokenEvidence, match="an earlier release was already number 2"):
        project.judge()


def count(project: GateProject, monkeypatch: pytest.MonkeyPatch, fork: bool = False) -> Result:
    """`gradatim ci count` in a job of GitHub, on a checkout of its own."""
    event = project.root.parent / "event.json"
    pull = {
        "head": {"repo": {"full_name": "stranger/m" if fork else "a/m"}},
        "base": {"repo": {"full_name": "a/m"}},
    }
    event.write_text(json.dumps({"pull_request": pull}), encoding="utf-8")
    for name, value in {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(event)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GITHUB_OUTPUT", str(project.root.parent / "outputs"))
    monkeypatch.chdir(project.root)
    return CliRunner().invoke(cli, ["ci", "count", "--json"], standalone_mode=False)


def test_a_job_that_may_push_counts_for_one_that_may_not(
    project: GateProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.contract(GATES, data="uses: 4")
    counting, evaluating = project.clone(tmp_path / "counting"), project.clone(tmp_path / "evaluating")
    said = json.loads(count(counting, monkeypatch).output)
    assert (said["number"], said["planned"]) == (1, 4)
    assert "number<<" in (tmp_path / "outputs").read_text(encoding="utf-8")
    assert json.loads(count(counting, monkeypatch).output)["number"] == 1, "once a candidate"
    monkeypatch.undo()
    hook = project.remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'you may only read' >&2\nexit 1\n")
    hook.chmod(0o755)
    judged = evaluating.judge()
    assert judged.verdict is Verdict.PASS
    assert "candidate 1 of the 4" in budget(judged)
    evaluating.another_candidate(0.1)
    refused = evaluating.judge()
    assert refused.verdict is Verdict.INCONCLUSIVE, "a candidate that no such job counted proves nothing"
    assert "could not be counted" in named(refused, "accuracy").text


def test_counting_a_fork_or_for_a_contract_that_does_not_ask_is_refused(
    project: GateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.contract(GATES)
    assert isinstance(count(project, monkeypatch).exception, UsageError)
    project.contract(GATES, data="uses: 4")
    refused = count(project, monkeypatch, fork=True).exception
    assert isinstance(refused, EnvironmentLacks)
    assert "a pull request from a fork, or of Dependabot, may not write to this repository" in str(refused)
    assert git(project.remote, "for-each-ref", USES) == ""
