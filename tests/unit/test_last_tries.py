"""Values, last tries and ends of loops: what no verdict shows, and what a wrong digit or a lost error would pass by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from registry_examples import act_as_ada, clone, commit_file, git, new_repository, registry_of, release_files
from scipy.stats import binom

from gradatim.errors import BrokenEvidence, EnvironmentLacks, UsageError
from gradatim.gates import exact
from gradatim.gates.case import Case
from gradatim.gates.judge import judge
from gradatim.gates.latency import level_bounds
from gradatim.gates.paired import regression_p
from gradatim.gates.planning import plan
from gradatim.gates.reuse import UseLedger
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.intervals import unseen
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.registry import ledger, tagging
from gradatim.registry import sync as following
from gradatim.registry.git import PushRejected, Repository
from gradatim.registry.history import LEDGER
from gradatim.registry.ledger import keep, open_ledger
from gradatim.registry.sync import sync, sync_ledger
from gradatim.registry.tagging import announce, assign
from gradatim.registry.versions import Change, Level, next_version
from gradatim.timing.decision import LOOKS, Decision, Look, look, looks_until
from gradatim.timing.paired import Question, _Answer


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    act_as_ada(monkeypatch)
    for module in (ledger, tagging, following):
        monkeypatch.setattr(module, "pause", lambda attempt: None)
    return new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")


def release(place: Path, version: str, data: bytes = b"weights", name: str = "digits") -> str:
    """Tag a release; its manifest digest."""
    files = release_files(place, version, data, name=name)
    announce(Repository.find(place), files.record, files.manifest, files.kept)
    return files.manifest.digest


def test_every_verb_that_loses_each_race_says_that_it_lost(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = release(repo, "v1.0.0")
    first = registry_of(repo, "digits").find("v1.0.0")
    tries = []

    def lost(self: Repository, remote: str, updates: object) -> bool:
        tries.append(remote)
        raise PushRejected("somebody else was first")

    monkeypatch.setattr(Repository, "push", lost)
    repository = Repository.find(repo)
    files = release_files(repo, "v1.1.0", b"other")
    for verb in (
        lambda: announce(repository, files.record, files.manifest, files.kept),
        lambda: assign(repository, first, "alpha"),
        lambda: keep(repository, digest, {"v1.0.0/note": b"x"}, first.commit),
    ):
        tries.clear()
        with pytest.raises(PushRejected, match="somebody else was first"):
            verb()
        assert len(tries) == 5
    assert "v1.1.0" not in git(repo, "tag").split()


def test_evidence_that_went_two_ways_is_broken_and_says_how_to_follow_the_remote(
    repo: Path, tmp_path: Path
) -> None:
    digest = release(repo, "v1.0.0")
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    there, here = Repository.find(other), Repository.find(repo)
    sync(there)
    commit = git(repo, "rev-parse", "HEAD")
    keep(there, digest, {"v1.0.0/there": b"x"}, commit)
    update = open_ledger(here, digest, fetch=False).adding({"v1.0.0/here": b"y"}, "1 +0000")
    assert update is not None
    here.update_refs([update])
    with pytest.raises(BrokenEvidence, match=rf"differs here and on origin.*update-ref -d {LEDGER}{digest}"):
        sync(here)
    with pytest.raises(BrokenEvidence, match="differs here and on origin"):
        sync_ledger(here, sync(here, evidence=False), digest)


def test_a_fetch_that_fails_on_its_last_try_is_told(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(repo, "v1.0.0")
    other = clone(tmp_path / "remote.git", tmp_path / "other", "--no-tags")
    tries = []

    def locked(self: Repository, remote: str, what: object) -> None:
        tries.append(what)
        raise EnvironmentLacks("cannot lock ref 'refs/tags/v1.0.0'")

    monkeypatch.setattr(Repository, "fetch", locked)
    with pytest.raises(EnvironmentLacks, match="cannot lock ref"):
        sync(Repository.find(other), required=True)
    assert len(tries) == 8


def test_a_reference_that_another_git_moves_each_time_is_told(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = release(repo, "v1.0.0")
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    there = Repository.find(other)
    sync(there)
    keep(Repository.find(repo), digest, {"v1.0.0/more": b"x"}, git(repo, "rev-parse", "HEAD"))

    def moved(self: Repository, updates: object) -> None:
        raise PushRejected("moved meanwhile")

    monkeypatch.setattr(Repository, "update_refs", moved)
    with pytest.raises(PushRejected, match="moved meanwhile"):
        sync(there)


def test_tags_stay_bare_or_named_as_they_began_whatever_else_comes(repo: Path) -> None:
    release(repo, "v1.0.0")
    release(repo, "v1.0.0", b"a face", name="faces")
    commit_file(repo, "x", b"x")
    release(repo, "v1.1.0", b"better")
    release(repo, "v1.1.0", b"a better face", name="faces")
    assert set(git(repo, "tag").split()) >= {"v1.0.0", "faces@v1.0.0", "v1.1.0", "faces@v1.1.0"}
    assert "digits@v1.1.0" not in git(repo, "tag").split()


def test_a_model_that_is_not_here_is_named_beside_those_that_are(repo: Path) -> None:
    release(repo, "v1.0.0")
    for asked in ("digit@v1.0.0", "digit#production"):
        with pytest.raises(UsageError, match=r"no model `digit` in this repository\. Known: digits\."):
            registry_of(repo, "digits").find(asked, "digits")


def test_a_breaking_change_raises_the_major_version_by_one(repo: Path) -> None:
    release(repo, "v1.4.2")
    model = registry_of(repo, "digits").model("digits")
    assert str(next_version(model, Change(Level.MAJOR, ("why",))).version) == "v2.0.0"
    assert str(next_version(model, Change(Level.MINOR, ("why",))).version) == "v1.5.0"
    assert str(next_version(model, Change(Level.PATCH, ("why",))).version) == "v1.4.3"


def test_a_stage_by_hand_on_a_commit_with_several_versions_is_the_newest_of_them(repo: Path) -> None:
    for version in ("v1.0.0-rc.1", "v1.0.0"):
        git(repo, "tag", "-a", "-m", "by hand", version)
    git(repo, "tag", "-a", "-m", "by hand", "digits#production#1")
    assert str(registry_of(repo, "digits").find("production", "digits")) == "v1.0.0"


@pytest.mark.parametrize("text", [b"nonsense\n", b"{\n", b"[]\n", b"null\n", b"\xff\n"])
def test_a_ledger_whose_first_line_is_no_charge_is_broken(text: bytes) -> None:
    with pytest.raises(BrokenEvidence):
        UseLedger(text)


def test_the_fewest_samples_are_those_of_the_binomial_at_every_edge() -> None:
    """0.9^29 < 5 % < 0.9^28, and one miss more wants the next row of the table; what cannot be proven has no number."""
    assert [exact.samples_all_right(share) for share in (0.0, 0.9, 1.0)] == [1, 29, None]
    assert [exact.forgiven(n, 0.9) for n in (0, 28, 29, 46)] == [None, None, 0, 1]
    assert [exact.samples_forgiving(misses, 0.9) for misses in range(4)] == [29, 46, 61, 76]
    for misses, n in enumerate((29, 46, 61, 76)):
        assert binom.cdf(misses, n, 0.1) <= 0.05 < binom.cdf(misses, n - 1, 0.1)
    assert [exact.samples_for_power(*pair) for pair in ((0.9, 0.95), (0.9, 0.9), (0.9, 0.90001))] == [
        203,
        None,
        None,
    ]
    rest = unseen(100, 0.05)
    assert [exact.samples_without_fault(100, rest, room) for room in (0.03, 0.0, 1.5)] == [99, 101, 101]


def test_what_noise_adds_to_a_calibration_error_is_not_counted_again_in_the_samples_that_it_wants() -> None:
    generator = np.random.default_rng(5)
    said = generator.uniform(0.6, 1, 400)
    right = generator.random(400) < said - 0.12
    answers = Predictions.of({"p": np.stack([1 - said, said], axis=1)}, right.astype(int))
    evaluation = Evaluation(Task("classification", (0, 1), scores="probabilities"), answers)
    (found,) = judge([Rule("ece", "ece", "at_most", 0.06)], Case("v", candidate=evaluation))
    upward = evaluation.samples("ece").upward
    assert upward is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.value is not None
    assert found.high is not None
    beyond = found.value - upward.most
    assert beyond > 0.04
    room = found.value - 0.06  # of 40 such draws of 775 rows 22 are decided, of 1500 all
    assert found.needed == pytest.approx(400 * ((found.high - beyond) / room) ** 2, rel=0.05)


def test_the_p_value_of_a_proven_regression_is_that_of_the_formula() -> None:
    """By hand: with many changes Tango's normal tail, with few the exact one, which is larger."""
    seen = {
        counts: regression_p(*counts, 0.01)
        for counts in [(5, 9, 400), (1, 9, 60), (10, 8, 800), (2, 14, 300), (40, 90, 2000)]
    }
    wanted = [0.5, 0.008479, 0.984416, 0.011508, 0.003682]
    assert list(seen.values()) == pytest.approx(wanted, rel=1e-3)


def test_both_bounds_of_a_quantile_are_the_order_statistics_of_the_binomial() -> None:
    samples = np.arange(1.0, 101.0)
    assert exact.quantile_bounds(samples, 0.5) == (42, 59)  # P(B <= 41) = 4.4 %, P(B <= 42) = 6.7 %
    assert exact.quantile_bounds(samples, 0.95) == (91, 99)
    assert exact.quantile_bounds(samples, 0.9, 0.001) == (80, 99)
    assert level_bounds("latency_p99", list(samples), 0.05) == (50.5, 42, 59)


def test_a_tail_whose_lower_bound_lies_above_the_limit_fails_and_one_below_does_not() -> None:
    rounds = {"latency_p95": tuple(0.010 + 0.0001 * i for i in range(20))}
    gate = Rule("latency_p95", "latency_p95", "at_most", 0.0104)
    assert judge([gate], Case("v", rounds=rounds))[0].verdict is Verdict.FAIL
    gate = Rule("latency_p95", "latency_p95", "at_most", 0.0108)
    assert judge([gate], Case("v", rounds=rounds))[0].verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("n", "bound"), [(300, 0.9), (3000, 0.99), (120, 0.5)])
def test_what_is_called_detectable_passes_four_times_in_five(n: int, bound: float) -> None:
    reached, forgiven = exact.detectable(n, bound, 0.05, 0.8), exact.forgiven(n, bound, 0.05)
    assert reached is not None
    assert binom.cdf(forgiven, n, 1 - reached) == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize(("bound", "truth"), [(0.9, 0.95), (0.99, 0.995), (0.5, 0.6)])
def test_what_is_called_needed_is_enough_and_a_quarter_less_is_not(bound: float, truth: float) -> None:
    def passes(n: int) -> float:
        forgiven = exact.forgiven(n, bound, 0.05)
        return 0.0 if forgiven is None else float(binom.cdf(forgiven, n, 1 - truth))

    needed = exact.samples_for_power(bound, truth, 0.05, 0.8)
    assert needed is not None
    assert passes(needed) >= 0.8
    assert passes(int(needed * 0.75)) < 0.8


@pytest.mark.parametrize(("low", "high", "alpha", "verdict"), [
    (0.91, 0.97, 0.05, Verdict.PASS), (0.80, 0.97, 0.05, Verdict.INCONCLUSIVE), (0.70, 0.89, 0.05, Verdict.FAIL),
    (0.91, 0.97, 0.01, Verdict.INCONCLUSIVE), (None, None, 0.05, Verdict.INCONCLUSIVE),
])  # fmt: skip
def test_a_measurement_with_an_interval_and_no_counts_is_judged_by_it(
    low: float | None, high: float | None, alpha: float, verdict: Verdict
) -> None:
    value = 0.94 if low is None or high is None else (low + high) / 2
    measured = Measurement("f1_macro", "v", value, n=400, low=low, high=high)
    (found,) = judge([Rule("f1_macro", "f1_macro", "at_least", 0.9, alpha=alpha)], Case("v", [measured]))
    assert found.verdict is verdict, found.text


def test_a_feasible_upper_bound_is_planned_as_possible() -> None:
    gates = [Rule("negative_flips", "negative_flips", "at_most", amount) for amount in (0.05, 0.2)]
    assert [row.possible for row in plan(gates, {"": 400}, task="classification")] == [True, True]
    assert [row.least for row in plan(gates, {"": 400}, task="classification")] == [59, 14]


def test_rounds_go_on_while_undecided_and_stop_once_decided() -> None:
    assert look([(-1) ** i * 0.2 for i in range(6)]).decision is Decision.UNDECIDED
    assert look([0.3 + 0.001 * i for i in range(6)]).decision is Decision.SLOWER
    assert look([0.001 * (-1) ** i for i in range(6)]).decision is Decision.NOT_SLOWER
    assert look([-0.3 + 0.001 * i for i in range(6)]).decision is Decision.FASTER
    assert looks_until(20) == (*(n for n in LOOKS if n < 20), 20)


def test_the_slowdown_that_a_benchmark_could_tell_is_its_alarm_and_half_an_interval_more() -> None:
    answer = _Answer()
    question = Question("new", "old", margin=0.06, alarm=0.02)
    assert answer.given(question).detectable is None
    answer.looks = [
        Look(6, 1.5, 1.0, 2.0, Decision.UNDECIDED),
        Look(12, 1.03, 0.99, 1.07, Decision.NOT_SLOWER),
    ]
    assert answer.given(question).detectable == pytest.approx(1.02 * 1.03 / 0.99 - 1)
    assert answer.given(replace(question, alarm=None)).detectable == pytest.approx(
        (1 + 0.06 / 3) * 1.03 / 0.99 - 1
    )
    assert not answer.open, "the last look decides"


def test_slices_of_measurements_alone_are_those_of_the_column_that_was_asked_for() -> None:
    where = ("site=north", "site=south", "age=old", None)
    measured = [Measurement("accuracy", "v", 0.9, n=100, where=one, successes=90) for one in where]
    asked = Rule("accuracy", "accuracy", "at_least", 0.5, slices="site")
    found = [one.gate for one in judge([asked], Case("v", measured))]
    assert found == ["accuracy", "accuracy[site=north]", "accuracy[site=south]"]


def test_a_bound_that_every_model_meets_is_met_by_one_that_is_never_right() -> None:
    assert exact.detectable(4, 0.0) == 0.0


def test_files_that_git_keeps_are_read_in_one_go_and_one_that_is_missing_is_named(tmp_path: Path) -> None:
    here = new_repository(tmp_path / "here")
    repository = Repository.find(here)
    digest = "a" * 64
    kept = {"v1.0.0/one": b"1", "v1.0.0/many": b"line\n\n" * 1000, "v1.0.0/none": b""}
    update = open_ledger(repository, digest, fetch=False).adding(kept, "1 +0000")
    assert update is not None
    repository.update_refs([update])
    there = open_ledger(repository, digest, fetch=False)
    assert dict(zip(kept, there.read_all(list(kept)), strict=True)) == kept
    with pytest.raises(BrokenEvidence, match=r"no v1\.0\.0/two"):
        there.read_all(["v1.0.0/one", "v1.0.0/two"])
