"""A pull request that lowers the bar is told so first, and needs a reason that travels with the release."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gate_project import GateProject, lay_down
from registry_examples import commit_file, git, new_repository

from gradatim.candidate.bar import weakened
from gradatim.candidate.candidate import Candidate
from gradatim.ci import Place
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.steps import gate

LABELS = np.arange(120) % 3
HELD = """\
accuracy: {at_least: 70%}
recall: {at_least: 50%, slices: every class}
negative_flips: {at_most: 20%}
"""


class PullRequest(Laptop):
    """A run for a pull request onto main."""

    def place(self) -> Place | None:
        return Place(branch="topic", target="main")


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    """A repository whose main asks for ``HELD``, here and on the remote."""
    made = lay_down(tmp_path, LABELS, LABELS, LABELS)
    ask(made, HELD)
    commit_file(made.root, "gradatim.yml", (made.root / "gradatim.yml").read_bytes())
    git(made.root, "push", "-q", "origin", "HEAD:main")
    git(made.root, "fetch", "-q", "origin")
    git(made.root, "checkout", "-q", "-b", "topic")
    return made


def ask(project: GateProject, gates: str, inconclusive: str = "fail") -> None:
    project.contract(gates)
    path = project.root / "gradatim.yml"
    text = path.read_text().replace("{branch: main}", f"{{branch: main, on_inconclusive: {inconclusive}}}")
    path.write_text(text)


def bar(project: GateProject, platform: Laptop | None = None) -> GateResult | None:
    """The first verdict of the gate step, where it is about the gates themselves."""
    contract = read_contract(project.root / "gradatim.yml")
    first = gate.run(Candidate(contract, platform or PullRequest(), "production")).gates[0]
    return first if first.gate == "gates" else None


LOOSER = [
    ("recall: {at_least: 50%, slices: every class}\nnegative_flips: {at_most: 20%}", "accuracy"),
    (HELD.replace("70%", "60%"), "accuracy"),
    (HELD.replace("at_most: 20%", "at_most: 30%"), "negative_flips"),
    (HELD.replace(", slices: every class", ""), "recall"),
    (HELD.replace("{at_least: 70%}", "{at_least: 70%, confidence: 80%}"), "accuracy"),
    (HELD.replace("{at_least: 70%}", "{not_worse_than: baseline, by: 50%}"), "accuracy"),
]


@pytest.mark.parametrize(("gates", "name"), LOOSER)
def test_a_gate_that_is_gone_or_asks_for_less_is_refused_without_a_reason(
    project: GateProject, gates: str, name: str
) -> None:
    ask(project, gates)
    found = bar(project)
    assert found is not None
    assert found.verdict is Verdict.FAIL
    assert f"`{name}`" in found.text
    assert "because:" in found.text
    assert bar(project, Laptop()) is None


@pytest.mark.parametrize(
    ("held", "now", "told"),
    [
        ("data: {group: user, ", "data: {", "data.group"),
        ("data: {", "data: {weight: user, ", "data.weight"),
        ("data: {uses: 20, ", "data: {uses: 2, ", "data.uses"),
        ("data: {", "data: {covariate: {column: user, mean: 0.2}, ", "data.covariate"),
        ("model: {candidates: [b.onnx], ", "model: {", "model.candidates"),
    ],
)
def test_what_a_gate_counts_by_is_part_of_the_bar(
    project: GateProject, held: str, now: str, told: str
) -> None:
    def written(said: str) -> None:
        ask(project, "accuracy: {at_least: 70%}\nsize: {at_most: 9 MB}")
        path = project.root / "gradatim.yml"
        path.write_text(path.read_text().replace(said.partition("{")[0] + "{", said))

    written(held)
    commit_file(project.root, "gradatim.yml", (project.root / "gradatim.yml").read_bytes())
    git(project.root, "push", "-q", "origin", "HEAD:main", "--force")
    git(project.root, "fetch", "-q", "origin")
    written(now)
    contract = read_contract(project.root / "gradatim.yml")
    (found,) = weakened(Candidate(contract, PullRequest(), "production"))
    assert found.key == "accuracy"
    assert found.now is not None
    assert told in found.now
    assert not weakened(Candidate(contract, Laptop(), "production"))


@pytest.mark.parametrize(
    "gates",
    [
        HELD,
        HELD.replace("70%", "75%"),
        HELD.replace("accuracy: {at_least: 70%}", "accuracy: {at_least: 70%, because: nothing}"),
        HELD + "f1_macro: {at_least: 10%}\n",
    ],
)
def test_gates_that_ask_for_as_much_or_more_are_passed_over(project: GateProject, gates: str) -> None:
    ask(project, gates)
    assert bar(project) is None


def test_a_reason_lets_a_gate_be_loosened_or_go_and_stands_in_the_verdict(project: GateProject) -> None:
    ask(
        project,
        """\
accuracy: {at_least: 60%, because: the new data hold harder pictures}
recall: {because: replaced by f1_macro}
f1_macro: {at_least: 50%}
negative_flips: {at_most: 20%}
""",
    )
    found = bar(project)
    assert found is not None
    assert found.verdict is Verdict.PASS
    for words in (
        "the new data hold harder pictures",
        "replaced by f1_macro",
        "at least 70 %",
        "at least 60 %",
    ):
        assert words in found.text


def test_what_the_undecided_does_is_part_of_the_bar(project: GateProject) -> None:
    ask(project, HELD, inconclusive="warn")
    found = bar(project)
    assert found is not None
    assert found.verdict is Verdict.FAIL
    assert "on_inconclusive" in found.text


def test_a_target_that_holds_no_contract_sets_no_bar(project: GateProject) -> None:
    git(project.root, "push", "-q", "origin", "v1.0.0^{commit}:refs/heads/main", "--force")
    git(project.root, "fetch", "-q", "origin")
    git(project.root, "branch", "-D", "main")
    ask(project, LOOSER[0][0])
    assert bar(project) is None


def test_a_gate_of_a_reason_alone_judges_nothing_and_an_empty_reason_is_none(project: GateProject) -> None:
    ask(project, "accuracy: {because: gone for good}")
    assert read_contract(project.root / "gradatim.yml").rules == ()
    ask(project, 'accuracy: {at_least: 70%, because: ""}')
    with pytest.raises(ContractError):
        read_contract(project.root / "gradatim.yml")


MEASURED = """\
model: {name: words, path: model.gguf}
data: {evaluation: test.jsonl}
task:
  type: generation
  scorers: {match: {by: exact_match}}
  metrics: {close: "scoring:close"}
  judge:
    endpoint: {url: "https://judge.example/v1", model: judge-1, key: KEY}
    rubric: The better answer is right.
    human: {path: people.jsonl, kappa: 0.5}
benchmark: {streaming: {goodput: {ttft: 500 ms}}}
gates: {win_rate: {at_least: 45%}, match: {at_least: 50%}, close: {at_least: 0.5}, goodput: {at_least: 1}}
stages: {production: {branch: main}}
"""


@pytest.mark.parametrize(
    ("was", "now", "key"),
    [
        ("is right", "is long", "win_rate"),
        ("judge-1", "judge-2", "win_rate"),
        ("kappa: 0.5", "kappa: 0.1", "win_rate"),
        ("    human: {path: people.jsonl, kappa: 0.5}\n", "", "win_rate"),
        ("exact_match", "contains", "match"),
        ("scoring:close", "scoring:far", "close"),
        ("500 ms", "5 s", "goodput"),
        ("kappa: 0.5", "kappa: 0.6", None),
        ("key: KEY", "parallel: 2", None),
        ("{ttft: 500 ms}", "{ttft: 400 ms, tpot: 50 ms}", None),
    ],
)
def test_the_same_bound_on_what_is_measured_otherwise_asks_less(
    tmp_path: Path, was: str, now: str, key: str | None
) -> None:
    root = tmp_path / "repo"
    new_repository(root)
    commit_file(root, "gradatim.yml", MEASURED.encode())
    git(root, "checkout", "-q", "-b", "topic")
    (root / "gradatim.yml").write_text(MEASURED.replace(was, now))
    found = weakened(Candidate(read_contract(root / "gradatim.yml"), PullRequest(), "production"))
    assert [one.key for one in found] == ([key] if key else [])
    assert all("with another `" in str(one.now) for one in found)
