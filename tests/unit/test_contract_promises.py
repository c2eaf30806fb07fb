"""What the contract says is what happens: promises that once no code kept, from the file to the verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from gate_project import GateProject, lay_down, named
from github_repository import Repository, served
from powercap import running, zone
from registry_examples import git

from gradatim.ci.github import GitHub
from gradatim.ci.github_checkup import check_branches
from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, UsageError
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.metrics.catalogue import SERVER_RATE, TWINS
from gradatim.metrics.catalogue import known as known_metrics
from gradatim.report.collect import collect

LABELS = np.arange(240) % 3
SCORING = """\
def cost(labels, predictions):
    return 5.0 + 50 * float((labels != predictions).sum())
"""
CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz, slices: site}
task:
  type: classification
  labels: [0, 1, 2]
  metrics: {cost: scoring:cost}
%(direction)s
test: {abnormal: skip}
gates:
  cost: {%(gate)s}
stages:
  production: {branch: main}
"""
LESS = "  lower_is_better: cost"


def wrong(misses: int) -> np.ndarray:
    """Right answers but for so many."""
    found = LABELS.copy()
    found[:misses] = (found[:misses] + 1) % 3
    return found


def project(folder: Path, *, old: int, new: int) -> GateProject:
    """A release that costs 5 + 50 times its ``old`` misses, and a candidate with ``new`` ones."""
    made = lay_down(
        folder, LABELS, wrong(old), wrong(new), {"site": np.array(["north", "south"])[LABELS // 2]}
    )
    (made.root / "scoring.py").write_text(SCORING)
    return made


def ask(made: GateProject, gate: str, direction: str = LESS) -> None:
    (made.root / "gradatim.yml").write_text(CONTRACT % {"gate": gate, "direction": direction})


@pytest.mark.parametrize("gate", ["not_worse_than: baseline, by: 2%", "at_most: 105% of baseline"])
def test_of_an_own_metric_where_less_is_better_more_is_refused_and_less_passes(
    tmp_path: Path, gate: str
) -> None:
    dearer, cheaper = project(tmp_path / "a", old=2, new=12), project(tmp_path / "b", old=12, new=2)
    for made, verdict in ((dearer, Verdict.FAIL), (cheaper, Verdict.PASS)):
        ask(made, gate)
        assert named(made.judge(), "cost").verdict is verdict


def test_of_an_own_metric_where_more_is_better_less_is_refused(tmp_path: Path) -> None:
    made = project(tmp_path, old=12, new=2)
    ask(made, "not_worse_than: baseline, by: 2%", direction="")
    assert named(made.judge(), "cost").verdict is Verdict.FAIL


def test_the_report_shows_an_own_metric_in_its_own_direction(tmp_path: Path) -> None:
    made = project(tmp_path, old=12, new=2)
    ask(made, "at_most: 400")
    gate = made.judge()
    shown = collect(made.release(), gate).slices
    assert {part.metric: part.higher_is_better for part in shown if part.metric in ("cost", "accuracy")} == {
        "cost": False,
        "accuracy": True,
    }


def test_a_share_of_the_baseline_that_would_refuse_progress_is_refused_for_an_own_metric_too(
    tmp_path: Path,
) -> None:
    made = project(tmp_path, old=2, new=2)
    ask(made, "at_least: 95% of baseline")
    with pytest.raises(ContractError, match="for cost less is better"):
        read_contract(made.root / "gradatim.yml")
    ask(made, "at_most: 105% of baseline", direction="")
    with pytest.raises(ContractError, match="for cost more is better"):
        read_contract(made.root / "gradatim.yml")


def test_a_direction_for_a_metric_that_is_not_there_is_an_error_at_its_line(tmp_path: Path) -> None:
    made = project(tmp_path, old=2, new=2)
    ask(made, "at_most: 400", direction="  lower_is_better: [cost, csot]")
    with pytest.raises(ContractError, match=r"gradatim\.yml:7:\d+: .*`csot`.*Did you mean `cost`\?"):
        read_contract(made.root / "gradatim.yml")


RELEASED = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip}
gates: {accuracy: {at_least: 50%}}
registry: {remote: upstream}
"""


@pytest.fixture
def forked(tmp_path: Path) -> GateProject:
    """A clone of a fork: ``origin`` is the fork, and the contract says that tags belong ``upstream``."""
    made = lay_down(tmp_path, LABELS, wrong(2), wrong(2))
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(upstream(made)))
    git(made.root, "remote", "add", "upstream", str(upstream(made)))
    git(made.root, "push", "-q", "upstream", "main")
    git(made.root, "config", "branch.main.remote", "origin")
    (made.root / "gradatim.yml").write_text(RELEASED)
    return made


def upstream(made: GateProject) -> Path:
    return made.remote.with_name("upstream.git")


def tags(place: Path) -> set[str]:
    return set(git(place, "tag", "--list").split())


def test_tags_and_evidence_go_to_the_remote_that_the_contract_names_and_to_no_other(
    forked: GateProject,
) -> None:
    forked.judge()
    forked.announce("v1.1.0")
    assert "v1.1.0" in tags(upstream(forked))
    assert git(upstream(forked), "for-each-ref", "refs/gradatim")
    assert tags(forked.remote) == {"v1.0.0"}
    assert git(forked.remote, "for-each-ref", "refs/gradatim") == ""


def test_the_baseline_is_looked_for_on_the_remote_that_the_contract_names(forked: GateProject) -> None:
    git(forked.root, "push", "-q", "upstream", "v1.0.0:refs/tags/v1.2.0")  # of a colleague's clone
    assert forked.release().sync.remote == "upstream"
    assert forked.release().registry.find("latest").tag == "v1.2.0"


def test_status_asks_the_remote_that_the_contract_names(
    forked: GateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(forked.root, "push", "-q", "upstream", "v1.0.0:refs/tags/v1.2.0")
    monkeypatch.chdir(forked.root)
    found = CliRunner().invoke(cli, ["status", "--fetch", "--json"], standalone_mode=False)
    assert json.loads(found.output)["models"][0]["newest"] == "v1.2.0"


def test_a_forge_is_found_by_the_address_of_the_remote_that_the_contract_names(forked: GateProject) -> None:
    git(forked.root, "remote", "set-url", "origin", "git@github.com:ada/digits.git")
    git(forked.root, "remote", "set-url", "upstream", "https://x:hush@github.com/acme/digits.git")
    (forked.root / "gradatim.yml").write_text(f"{RELEASED}publish: [github, gitlab]\n")
    assert [place.location for place in forked.release().publishers()] == [
        "https://github.com/acme/digits",
        "https://github.com/acme/digits",
    ]


class Asked(Repository):
    """Knows the names of the repositories that it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.names.add("/".join(path.split("/")[2:4]))
        return super().answer(method, path, body)


@pytest.mark.parametrize("command", ["protect", "doctor"])
def test_settings_are_those_of_the_remote_that_the_contract_names(
    forked: GateProject, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    git(forked.root, "remote", "set-url", "origin", "git@github.com:ada/digits.git")
    git(forked.root, "remote", "set-url", "upstream", "git@github.com:acme/digits.git")
    monkeypatch.chdir(forked.root)
    monkeypatch.setenv("GH_TOKEN", "hush")
    for name in ("GITHUB_ACTIONS", "GITHUB_REPOSITORY", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    repository = Asked()
    with served(repository) as address:
        monkeypatch.setenv("GITHUB_API_URL", address)
        done = CliRunner().invoke(cli, [command, "--json"], standalone_mode=False)
    assert done.exception is None, done.exception
    assert repository.names == {"acme/digits"}


def test_a_branch_is_looked_for_on_the_remote_that_the_contract_names(forked: GateProject) -> None:
    git(forked.root, "push", "-q", "upstream", "main:staging")
    git(forked.root, "fetch", "-q", "upstream")
    stages = "stages: {beta: {branch: staging}, production: {branch: main}}"
    (forked.root / "gradatim.yml").write_text(f"{RELEASED}{stages}\n")
    candidate = forked.release()
    assert list(check_branches(candidate.contract.parts, candidate.repository, [])) == []


def test_a_remote_that_is_not_there_is_refused_at_its_line_and_never_replaced_by_another(
    forked: GateProject,
) -> None:
    git(forked.root, "remote", "remove", "upstream")
    with pytest.raises(UsageError, match=r"gradatim\.yml:6: .*`upstream`.*Known: origin.*git remote add"):
        _ = forked.release().registry
    assert tags(forked.remote) == {"v1.0.0"}


def test_what_a_clone_knows_is_shown_without_the_remote_that_the_contract_names(
    forked: GateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(forked.root, "remote", "remove", "upstream")
    monkeypatch.chdir(forked.root)
    assert "v1.0.0" in CliRunner().invoke(cli, ["status"], standalone_mode=False).output
    asked = CliRunner().invoke(cli, ["status", "--fetch"], standalone_mode=False)
    assert isinstance(asked.exception, UsageError)


def test_a_job_of_a_ci_system_knows_the_repository_by_the_name_that_its_checkout_gives_it(
    forked: GateProject,
) -> None:
    git(forked.root, "remote", "remove", "upstream")
    candidate = replace(forked.release(), platform=GitHub({}))
    assert candidate.repository.remote == "origin"


TIMED = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip}
benchmark: {rounds: %d}
gates:
%s
"""


@pytest.fixture
def timed(tmp_path: Path) -> GateProject:
    return lay_down(tmp_path / "timed", LABELS, wrong(2), wrong(2))


def gates(made: GateProject, rounds: int = 3, **lines: str) -> dict[str, GateResult]:
    """What the gates of a benchmark say, by the gate's metric."""
    written = "\n".join(f"  {name}: {{{line}}}" for name, line in lines.items())
    (made.root / "gradatim.yml").write_text(TIMED % (rounds, written))
    return {result.gate: result for result in made.judge("production", "benchmark").gates}


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this machine's energy counters are looked for: none, until a test lays some down."""
    root = tmp_path / "powercap"
    root.mkdir()
    monkeypatch.setattr("gradatim.timing.energy.POWERCAP", root)
    return root


def test_energy_is_judged_where_the_hardware_counts_it(timed: GateProject, powercap: Path) -> None:
    with running(zone(powercap, "intel-rapl:0", "package-0"), watts=20):
        found = gates(timed, rounds=5, energy="at_most: 20 J")["energy"]
        assert found.verdict is Verdict.PASS, found.text
        assert found.unit == "J"
        assert found.low is not None
        assert found.low < found.high
        found = gates(timed, rounds=5, energy="at_most: 1 uJ")["energy"]
        assert found.verdict is Verdict.FAIL, found.text
        found = gates(timed, rounds=5, energy="not_worse_than: baseline, by: 9900%")["energy"]
        assert found.verdict is Verdict.PASS, found.text
        assert "5 paired rounds" in found.text
        assert "slower" not in found.text


@pytest.mark.parametrize(
    "line", ["at_most: 2", "not_worse_than: baseline, by: 5%", "at_most: 110% of baseline"]
)
def test_energy_that_nothing_counts_never_passes_and_says_what_the_hardware_lacks(
    timed: GateProject, powercap: Path, line: str
) -> None:
    wanted = {line: Verdict.FAIL, f"{line}, required: false": Verdict.INCONCLUSIVE}  # of one benchmark
    for said, verdict in wanted.items():
        found = gates(timed, energy=said)["energy"]
        assert found.verdict is verdict
        assert "RAPL" in found.text
        assert "gradatim benchmark" not in found.text


def test_every_gate_on_what_is_timed_or_counted_is_decided_after_the_benchmark(
    timed: GateProject, powercap: Path
) -> None:
    units = {"s": "1 min", "B": "1 GB", "J": "900 J"}
    own = (m for m in known_metrics("classification").values() if m.kind in ("timing", "limit"))
    elsewhere = {*TWINS, SERVER_RATE}  # the evaluation counts those; what LoadGen finds has tests of its own
    known = {m.name: m for m in own if m.name not in elsewhere}
    lines = {
        name: "at_least: 0.001" if metric.higher_is_better else f"at_most: {units.get(metric.unit, '1 M')}"
        for name, metric in known.items()
    }
    with running(zone(powercap, "intel-rapl:0", "package-0"), watts=20):
        found = gates(timed, rounds=5, **lines)  # fewer bound no tail
    assert {name: result.text for name, result in found.items() if result.verdict is not Verdict.PASS} == {}
    assert set(found) == set(known)
