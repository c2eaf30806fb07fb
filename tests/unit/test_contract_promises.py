"""What the contract says is what happens: promises that once no code kept, from the file to the verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gate_project import GateProject, lay_down, named

from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError
from gradatim.gates.verdict import Verdict
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
