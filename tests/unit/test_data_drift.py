"""The evaluation data beside those of the release: told from counts alone, gated when asked, never passed in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from gate_project import GateProject, lay_down
from registry_examples import act_as_ada

from gradatim.candidate.outcome import Outcome
from gradatim.checks.distribution import distribution_of
from gradatim.checks.drift import Columns
from gradatim.contract.reading import contract_of
from gradatim.data import open_data
from gradatim.errors import ContractError
from gradatim.evidence.codec import decode, encode
from gradatim.evidence.found import Evaluated
from gradatim.evidence.opinion import replayed
from gradatim.evidence.statement import Bundle
from gradatim.gates.distribution import ColumnCounts, Distribution
from gradatim.gates.drift import bounds, counted, drift
from gradatim.gates.verdict import GateResult, Verdict


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    act_as_ada(monkeypatch)
    answers = np.random.default_rng(1).integers(0, 3, 1200)
    made = lay_down(tmp_path, answers, answers, answers, {"region": np.where(answers < 2, "north", "south")})
    made.contract("drift: {at_most: 0.1}", data="slices: [region]")
    monkeypatch.chdir(made.root)
    return made


def judged(project: GateProject) -> GateResult:
    return next(one for one in project.judge().gates if one.gate == "drift")


def rows(project: GateProject, chosen: Any, **more: Any) -> None:
    held = dict(np.load(project.root / "test.npz", allow_pickle=True))
    np.savez(project.root / "test.npz", **{name: values[chosen] for name, values in held.items()} | more)


def bundle_of(project: GateProject, judged: Outcome) -> Bundle:
    """The evidence of a run, as a release would carry it."""
    release = project.release()
    statements = [release.workspace.evidence(step) for step in ("inspect", "evaluate")]
    return Bundle((*statements, judged.statement(release, "gate", {}, 0.0)))


def released(project: GateProject) -> Evaluated:
    """A release whose evidence tells how its data were spread, and a candidate to follow it."""
    project.judge()
    project.announce("v1.1.0")
    project.another_candidate(0.25)
    return Evaluated.of(project.release().workspace.evidence("evaluate"))


def test_a_release_that_does_not_tell_how_its_data_were_spread_passes_nobody(project: GateProject) -> None:
    found = judged(project)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the evidence of v1.0.0 does not tell how its evaluation data were spread" in found.text


def test_data_are_held_against_those_of_the_release_whose_rows_are_gone(project: GateProject) -> None:
    kept = released(project)
    assert kept.distribution is not None
    assert set(kept.distribution.columns) >= {"x[0]", "region", "the label"}
    dice = np.random.default_rng(3)
    rows(project, dice.permutation(1200)[:900])
    same = judged(project)
    assert same.verdict is Verdict.PASS, same.text
    assert "since v1.1.0, the most of 8 columns" in same.text
    held = np.load(project.root / "test.npz", allow_pickle=True)["label"]
    rows(project, np.flatnonzero((held == 1) | (dice.random(900) < 0.3)))
    changed = project.judge()
    found = next(one for one in changed.gates if one.gate == "drift")
    assert found.verdict is Verdict.FAIL, found.text
    evaluated = project.release().workspace.evidence("evaluate")
    assert "the evaluation data changed since the release" in evaluated.summary
    assert replayed(bundle_of(project, changed), "original")[1] == []
    report = json.loads((project.root / ".gradatim" / "report.json").read_text())
    assert any("evaluation data changed since the release in" in hint for hint in report["hints"])


def test_few_rows_and_columns_that_are_gone_prove_nothing(project: GateProject) -> None:
    released(project)
    project.contract("drift: {at_most: 0.1}")  # no slices, so one column less
    assert judged(project).verdict is Verdict.INCONCLUSIVE
    assert "region: not in both" in judged(project).text
    project.contract("drift: {at_most: 0.1}", data="slices: [region]")
    rows(project, np.arange(100))
    assert "too few to tell" in judged(project).text
    rows(project, np.arange(20))
    found = judged(project)
    assert (found.verdict, "30 are the least" in found.text) == (Verdict.INCONCLUSIVE, True)
    assert Evaluated.of(project.release().workspace.evidence("evaluate")).distribution is None


def test_the_evidence_keeps_no_row(project: GateProject) -> None:
    """Values of single rows are counted together, and a text is known by its length and letters alone."""
    labels = np.array(["yes"] * 50 + ["no"] * 40 + ["Ada Lovelace"] * 2)
    assert counted(labels) == ColumnCounts((40, 50, 2), (), ("no", "yes"))
    columns = Columns()
    columns.add("text", np.array(["Ada Lovelace", "Grüße 12"], object))
    told = columns.joined()
    assert {name: values.tolist() for name, values in told.items()} == {
        "length of text": [12, 8], "letters in text": [11 / 12, 5 / 8], "letters beyond ASCII in text": [0, 2 / 8],
    }  # fmt: skip
    kept = Distribution(92, {"label": counted(labels)})
    assert decode(Distribution, json.loads(json.dumps(encode(kept))), "here") == kept


def test_pictures_and_sequences_of_any_size_are_told_by_what_all_rows_have() -> None:
    dice, columns = np.random.default_rng(0), Columns()
    for side in (5, 7, 5):
        columns.add("picture", dice.random((4, side, side)))
        columns.add("tokens", dice.integers(0, 9, (4, side)))
    columns.add("picture", np.array([dice.random((3, 2)), dice.random((2, 3))], object))
    columns.add("tokens", dice.integers(0, 9, (2, 5)))
    found = columns.joined()
    whole = ("mean", "deviation", "lowest", "highest", "size")
    assert list(found) == [f"{what} of {name}" for name in ("picture", "tokens") for what in whole]
    assert {len(values) for values in found.values()} == {14}


def test_files_of_every_format_are_told_column_by_column(tmp_path: Path) -> None:
    table = {"age": np.arange(60) / 7, "city": ["Bonn", "Ulm"] * 30, "text": [f"word {i}" for i in range(60)]}
    label = np.arange(60) % 3
    np.savez(tmp_path / "d.npz", picture=np.random.default_rng(0).random((60, 3, 8, 8)), label=label)
    pyarrow.parquet.write_table(pyarrow.table({**table, "label": label}), tmp_path / "d.parquet")
    pyarrow.csv.write_csv(pyarrow.table({**table, "label": label}), tmp_path / "d.csv")
    lines = (
        {name: values[row] for name, values in table.items()} | {"label": int(label[row])}
        for row in range(60)
    )
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for kind in ("npz", "parquet", "csv", "jsonl"):
        slices = ["city"] if kind != "npz" else []
        units, told = distribution_of(open_data(f"d.{kind}", root=tmp_path, label="label", slices=slices), 7)
        assert (units, {len(values) for values in told.values()}) == (60, {60})
        text = [f"{what} text" for what in ("length of", "letters in", "letters beyond ASCII in")]
        image = [f"{what} of picture" for what in ("mean", "deviation", "lowest", "highest", "size")]
        assert set(told) == {"the label", *(image if kind == "npz" else ["age", "city", *text])}, kind
        assert counted(told["the label"]).values == ("0.0", "1.0", "2.0")


@pytest.mark.parametrize(
    "line",
    ["at_least: 0.1", "at_most: 0", "not_worse_than: baseline, by: 1%", "at_most: 0.1, slices: every class"],
)
def test_what_no_drift_gate_can_prove_is_refused_at_its_line(project: GateProject, line: str) -> None:
    project.contract(f"drift: {{{line}}}")
    with pytest.raises(ContractError, match=r"gradatim.yml:6"):
        contract_of((project.root / "gradatim.yml").read_text(), project.root / "gradatim.yml")


def test_the_bounds_of_the_index_hold_the_truth_as_often_as_they_say() -> None:
    """PSI is 0.1 over ten values. 400 draws of 5 % have a standard error of 1.1 points."""
    dice, old = np.random.default_rng(7), np.array([0.3, 0.2, 0.1, 0.1, 0.08, 0.07, 0.05, 0.05, 0.03, 0.02])
    tilt = np.array([0, 0, 0, 0, 1, -1, 1, -1, 1, -1])
    low, high = 0.0, 3.0
    for _ in range(60):
        step = (low + high) / 2
        new = old * np.exp(step * tilt) / (old * np.exp(step * tilt)).sum()
        low, high = (step, high) if ((new - old) * np.log(new / old)).sum() < 0.1 else (low, step)
    wrong = np.zeros(2)
    for _ in range(400):
        before, after = (np.repeat(np.arange(10.0), dice.multinomial(500, each)) for each in (old, new))
        one = drift({"x": counted(before)}, {"x": after})[0]
        ends = bounds(one, 0.05)
        wrong += ends[1] <= 0.1, ends[0] > 0.1
    assert (wrong / 400 <= 0.075).all(), wrong


def odd_columns(n: int) -> dict[str, np.ndarray[Any, Any]]:
    """Columns as files hold them: with gaps, infinities, nothing at all, one kind of thing or several."""
    dice = np.random.default_rng(n)
    plain, few = dice.normal(size=n), dice.integers(0, 5, n)
    gaps, wide, grades = plain.copy(), plain.copy(), few.astype(float)
    gaps[::3], wide[::2], grades[::4] = np.nan, np.inf, np.nan
    wide[0] = -np.inf
    mixed = np.array([None, "a", 2.5, float("nan")], object)[dice.integers(0, 4, n)]
    return {
        "plain": plain, "gaps": gaps, "nothing": np.full(n, np.nan), "wide": wide, "grades": grades, "few": few, "one": np.ones(n),
        "yes or no": plain > 0, "letters": np.array(list("abcde"))[few], "names": np.array([f"n{i}" for i in range(n)]), "mixed": mixed,
    }  # fmt: skip


def test_a_column_with_gaps_or_of_another_kind_is_compared_and_never_refused() -> None:
    then, now = odd_columns(400), odd_columns(300)
    for name, old in then.items():
        for other, new in now.items():
            for reference in (old, counted(old)):
                (found,) = drift({name: reference}, {name: new})
                numbers = (found.p, found.psi, found.statistic, *bounds(found, 0.05))
                assert np.isfinite(numbers).all(), (name, other)
                assert found.verdict is Verdict.PASS or name != other or name == "names", (name, other)


def test_values_that_go_missing_are_drift_and_the_same_gaps_as_ever_are_none() -> None:
    dice = np.random.default_rng(5)
    whole, again = dice.normal(size=600), dice.normal(size=500)
    gaps, same = whole.copy(), again.copy()
    gaps[::3], same[::3] = np.nan, np.nan
    for old, new, verdict in (
        (whole, same, Verdict.FAIL),
        (gaps, same, Verdict.PASS),
        (gaps, again, Verdict.FAIL),
    ):
        for reference in (old, counted(old)):
            (found,) = drift({"age": reference}, {"age": new})
            assert found.verdict is verdict
