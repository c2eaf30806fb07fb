"""Answers compared by a judge: in both orders, never believed further than they agree, and not at all where people disagree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_server import Asked, no_json, serving, status
from registry_examples import new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.judging import judge_answers, judged_by
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, EnvironmentLacks, InvalidInput
from gradatim.evidence.found import Judging
from gradatim.gates.case import Case
from gradatim.gates.judge import judge
from gradatim.gates.planning import plan
from gradatim.gates.recording import grounds_of
from gradatim.gates.retold import retold
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.answers import ANSWER, REQUEST, TextAnswer
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.judged import PREFERRED, Judgements, final, kappa
from gradatim.metrics.measure import measurements
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.predictions_writer import PredictionsWriter
from gradatim.metrics.scored import SCORE
from gradatim.metrics.scorers.table import SCORERS, Scoring
from gradatim.metrics.task import Task
from gradatim.steps import evaluate

TASK = Task("generation", scorers=(Scoring("exact_match", SCORERS["exact_match"]),))
AT_LEAST = {share: Rule("win_rate", "win_rate", "at_least", share) for share in (0.05, 0.45, 0.55)}


def gated(verdicts: Judgements, share: float = 0.45, groups: Any = None) -> GateResult:
    """The gate on ``win_rate``, given what a judge said of each pair."""
    case = case_of(verdicts, groups)
    (result,) = judge([AT_LEAST[share]], case)
    return result


def case_of(verdicts: Judgements, groups: Any = None) -> Case:
    n = len(verdicts.first)
    answered = {SCORE + "exact_match": np.ones(n), ANSWER: [TextAnswer(("a",), (False,)).to_text()] * n}
    old = Evaluation(TASK, Predictions.of(answered, None, groups=groups))
    judged = {**answered, PREFERRED: verdicts.table()}
    return Case(
        "original", candidate=Evaluation(TASK, Predictions.of(judged, None, groups=groups), old), baseline=old
    )


def said(
    dice: np.random.Generator, n: int, wins: float, place: float = 0.0, fickle: float = 0.0
) -> Judgements:
    """A judge of pairs of which the candidate's answer is the better one so often, who in each order goes by the place alone so
    often, and errs so often."""
    better = np.where(dice.random(n) < wins, 1, -1)

    def order(first: int) -> np.ndarray:
        found = np.where(dice.random(n) < fickle, -better, better)
        return np.where(dice.random(n) < place, first, found).astype(np.int8)

    ones = np.ones(n, np.int8)
    return Judgements(order(1), order(-1), ones, ones)


def test_a_judge_that_always_takes_the_first_proves_nothing_200_of_200() -> None:
    for seed in range(200):
        dice = np.random.default_rng(seed)
        first = said(dice, int(dice.integers(2, 400)), dice.random(), place=1.0)
        for found in judge(list(AT_LEAST.values()), case_of(first)):
            assert found.verdict is Verdict.INCONCLUSIVE
            assert "order" in found.text


def test_a_judge_that_draws_lots_or_says_tie_to_everything_proves_nothing() -> None:
    dice = np.random.default_rng(0)
    lots = [gated(said(dice, 400, 0.5, fickle=0.5)).verdict for _ in range(40)]
    assert lots.count(Verdict.INCONCLUSIVE) >= 36
    zeros, ones = np.zeros(400, np.int8), np.ones(400, np.int8)
    ties = gated(Judgements(zeros, zeros, ones, ones))
    assert ties.verdict is Verdict.INCONCLUSIVE
    assert "no two answers apart" in ties.text


@pytest.mark.parametrize("place", [0.0, 0.3])
def test_the_gate_errs_no_more_often_than_it_says_whatever_the_place_weighs(place: float) -> None:
    dice, runs = np.random.default_rng(5), 60
    wrong = sum(gated(said(dice, 200, 0.45, place)).verdict is Verdict.PASS for _ in range(runs))
    assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    right = sum(gated(said(dice, 200, 0.6, place)).verdict is Verdict.PASS for _ in range(15))
    assert right >= 12
    refused = sum(gated(said(dice, 200, 0.25, place)).verdict is Verdict.FAIL for _ in range(15))
    assert refused >= 12


def test_equal_answers_are_even_whatever_the_judge_is_worth() -> None:
    none = np.zeros(300, np.int8)
    assert gated(Judgements(none, none, none, np.ones(300, np.int8))).verdict is Verdict.PASS


def test_a_judge_is_not_blamed_for_what_it_was_never_asked() -> None:
    none, ones = np.zeros(20, np.int8), np.ones(20, np.int8)
    for believed in (none, ones):
        few = gated(Judgements(none, none, none, believed))
        assert few.verdict is Verdict.INCONCLUSIVE
        assert "judge" not in few.text
    lacking = gated(Judgements(2 * ones, 2 * ones, ones, ones))
    assert lacking.verdict is Verdict.INCONCLUSIVE
    assert "20 have none" in lacking.text
    assert "judge" not in lacking.text
    won = gated(Judgements(ones[:2], ones[:2], ones[:2], ones[:2]))
    assert "2 of the 2" in won.text
    assert "more prompts" in won.text


def test_pairs_of_one_document_are_one_unit() -> None:
    dice = np.random.default_rng(3)
    alone = said(dice, 60, 0.62)
    many = Judgements(
        *(np.repeat(one, 10) for one in (alone.first, alone.second, alone.asked, alone.believed))
    )
    assert gated(many, 0.55).verdict is Verdict.PASS
    assert gated(many, 0.55, groups=np.repeat(np.arange(60), 10)).verdict is Verdict.INCONCLUSIVE


def test_a_verdict_that_is_lacking_counts_against_whatever_is_to_be_proven() -> None:
    won = np.ones(100, np.int8)
    lacking = np.where(np.arange(100) < 50, 2, won).astype(np.int8)
    good = gated(Judgements(lacking, won, won, won), 0.55)
    assert good.verdict is Verdict.INCONCLUSIVE
    assert "50 have none" in good.text
    lost = np.where(lacking == 2, 2, -1).astype(np.int8)
    assert gated(Judgements(lost, -won, won, won), 0.45).verdict is Verdict.INCONCLUSIVE


def test_the_verdict_is_told_again_from_the_evidence_alone() -> None:
    for wins in (0.3, 0.5, 0.8):
        case = case_of(said(np.random.default_rng(1), 200, wins, 0.1))
        rules = [AT_LEAST[0.45]]
        results = judge(rules, case)
        grounds = grounds_of(rules, case, results, on_inconclusive="fail")
        again = judge(rules, retold(grounds, "original", case.measurements))
        assert [one.verdict for one in again] == [one.verdict for one in results]


def test_the_plan_says_how_many_pairs_are_needed_before_any_is_judged() -> None:
    (row,) = plan([AT_LEAST[0.45]], {"": 100}, task="generation")
    assert row.needed is not None
    dice = np.random.default_rng(9)
    passed = sum(gated(said(dice, row.needed, 0.5, place=0.2)).verdict is Verdict.PASS for _ in range(30))
    assert passed >= 18
    (short,) = plan([AT_LEAST[0.55]], {"": 3}, task="generation")
    assert not short.possible
    (among,) = plan([AT_LEAST[0.45]], {"": 100}, task="generation", power=0.96)
    assert among.needed is not None
    assert among.needed > 1.5 * row.needed  # to pass together with others
    (lax,) = plan([AT_LEAST[0.05]], {"": 100}, task="generation")
    assert (lax.needed or 0) >= (lax.least or 0)


def test_kappa_is_cohens_over_both_orders_and_its_bound_holds() -> None:
    words = np.array(["first", "second", "tie"])

    def both(n: int, dice: np.random.Generator, sure: float) -> tuple[list[str], list[str]]:
        people = dice.choice(3, n, p=[0.6, 0.2, 0.2])
        judge_said = np.where(dice.random(n) < sure, people, dice.choice(3, n))
        return list(words[people]), list(words[judge_said])

    people, told = both(500, np.random.default_rng(0), 0.7)
    turned = {"first": "second", "second": "first", "tie": "tie"}
    table = np.zeros((3, 3))
    for one, other in zip(
        [*people, *(turned[w] for w in people)], [*told, *(turned[w] for w in told)], strict=True
    ):
        table[list(words).index(one), list(words).index(other)] += 1
    table /= table.sum()
    chance = float(table.sum(axis=0) @ table.sum(axis=1))
    found = kappa(people, told, list(map(str, range(500))))
    assert found.value == pytest.approx((np.trace(table) - chance) / (1 - chance))
    truth = kappa(*both(100_000, np.random.default_rng(1), 0.7), list(map(str, range(100_000)))).value
    assert truth is not None
    dice, held = np.random.default_rng(2), 0
    for _ in range(100):
        bounds = kappa(*both(60, dice, 0.7), list(map(str, range(60)))).bounds(0.05)
        held += bounds is not None and bounds[0] <= truth
    assert held >= 89


def test_a_judge_whose_orders_disagree_agrees_with_nobody() -> None:
    first = ["first"] * 50
    assert final(first, first) == ["tie"] * 50
    assert final(["first", "tie", None], ["second", "tie", "first"]) == ["first", "tie", None]
    people = ["first", "second"] * 25
    found = kappa(people, final(first, first), [str(row) for row in range(50)]).bounds(0.05)
    assert found is None or found[0] < 0.2


CONTRACT = """
model: {name: capitals, factory: "speaking:make"}
data: {evaluation: test.jsonl}
task: {type: generation, scorers: [exact_match], judge: JUDGE}
gates: {win_rate: {at_least: 45%}}
stages: {production: {branch: main}}
"""
JUDGING = """
def longer(questions, first, second):
    assert all(set(q) == {"prompt", "references"} for q in questions)
    return ["tie" if len(a) == len(b) else "first" if len(a) > len(b) else "second" for a, b in zip(first, second)]

def always(questions, first, second):
    return ["first"] * len(first)

def unsure(questions, first, second):
    return [None] * len(first)

def yields(questions, first, second):
    yield from longer(questions, first, second)

def endless(questions, first, second):
    while True:
        yield "first"

def strange(questions, first, second):
    return ["A"] * len(first)
"""
ROWS = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose candidate and release have answered: the candidate at more length, on the last rows alike or not at all."""
    root = tmp_path_factory.mktemp("judged") / "repo"
    new_repository(root)
    (root / "judging.py").write_text(JUDGING)
    (root / "speaking.py").write_text("def make(): ...\n")
    rows = [json.dumps({"prompt": f"{row}?", "label": "x"}) for row in range(ROWS)]
    (root / "test.jsonl").write_text("\n".join(rows) + "\n")
    for name, longer in (("original", "!"), ("baseline", "")):
        answers = [
            TextAnswer((f"{row} {longer if row < ROWS - 4 else ''}",), (False,)) for row in range(ROWS)
        ]
        answers[-1 if longer else -2] = TextAnswer(error="HTTP 500")
        lines = np.array([answer.to_text() for answer in answers], object)
        with PredictionsWriter(root / ".gradatim/predictions" / name) as writer:
            outputs = {ANSWER: lines, SCORE + "exact_match": np.ones(ROWS)}
            writer.append(outputs, np.array(['"x"'] * ROWS, object))
    return root


def judged_with(root: Path, judge_is: str) -> Candidate:
    (root / "gradatim.yml").write_text(CONTRACT.replace("JUDGE", judge_is))
    return Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production")


def verdict_of(candidate: Candidate) -> tuple[GateResult, dict[str, Measurement], Judging]:
    judging, measured = judge_answers(candidate, TASK, ("original", "baseline"))
    assert judging is not None
    load = candidate.workspace.predictions
    old = Evaluation(TASK, load("baseline"))
    new = Evaluation(TASK, load("original"), old)
    found = [*measurements(new, "original"), *measured]
    (result,) = judge(candidate.contract.rules, Case("original", found, new, old))
    return result, {one.name: one for one in found}, judging


def test_a_function_judges_and_what_no_judge_need_say_is_not_asked(root: Path) -> None:
    candidate = judged_with(root, "judging:longer")
    result, found, _ = verdict_of(candidate)
    assert result.verdict is Verdict.PASS
    assert found["position_bias"].value == 0
    assert found["judge_consistency"].value == 1
    said = Judgements.of(candidate.workspace.predictions("original").outputs[PREFERRED].values)
    assert said.asked.tolist() == [1] * (ROWS - 4) + [0] * 4
    assert said.first[-4:].tolist() == [
        0,
        0,
        2,
        -1,
    ]  # alike twice; the release failed, which is no merit; we failed


def test_texts_are_asked_for_where_only_the_judge_reads_them(root: Path) -> None:
    (root / "gradatim.yml").write_text(
        CONTRACT.replace("JUDGE", "judging:longer").replace("exact_match", "bits_per_byte")
    )
    candidate = Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production")
    block = next(iter(candidate.rows.dataset("evaluation", None).blocks(1)))
    assert json.loads(block.inputs[REQUEST][0])["wants"] == ["target", "text"]


def test_a_function_that_always_takes_the_first_is_found_out(root: Path) -> None:
    result, found, _ = verdict_of(judged_with(root, "judging:always"))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert found["position_bias"].value == 1
    assert "position bias +100 %" in result.text


def test_no_verdict_is_never_dropped_and_a_strange_one_is_no_verdict(root: Path) -> None:
    result, _, _ = verdict_of(judged_with(root, "judging:unsure"))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert f"{ROWS - 3} have none" in result.text
    with pytest.raises(InvalidInput, match="said 'A' of a pair"):
        verdict_of(judged_with(root, "judging:strange"))


def test_a_judge_that_is_no_function_is_told_at_a_first_release_where_nobody_is_judged(root: Path) -> None:
    candidate = judged_with(root, "judging:nobody")
    with pytest.raises(InvalidInput, match=r"gradatim\.yml:4.*judging\.py has no `nobody`"):
        evaluate.run(candidate)


def test_a_function_may_yield_its_verdicts_one_a_pair(root: Path) -> None:
    assert verdict_of(judged_with(root, "judging:yields"))[0].verdict is Verdict.PASS
    with pytest.raises(
        InvalidInput, match=r"gradatim\.yml:4: `judging:endless` must give one verdict a pair"
    ):
        verdict_of(judged_with(root, "judging:endless"))


@pytest.mark.parametrize(("right", "verdict"), [(1.0, Verdict.PASS), (0.5, Verdict.INCONCLUSIVE)])
def test_a_judge_whom_people_do_not_bear_out_proves_nothing(
    root: Path, right: float, verdict: Verdict
) -> None:
    said = "{function: 'judging:longer', human: {path: people.jsonl, kappa: 0.6}}"
    candidate = judged_with(root, said)
    before = judged_by(candidate)
    dice, lines = np.random.default_rng(0), []
    for row in range(80):
        answers = ("a", "aa") if row % 2 else ("aa", "a")
        better = "second" if (row % 2 == 1) == bool(dice.random() < right) else "first"
        lines.append(
            {
                "prompt": f"{row}",
                "references": [],
                "first": answers[0],
                "second": answers[1],
                "preferred": better,
            }
        )
    (candidate.root / "people.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result, found, _ = verdict_of(candidate)
    assert result.verdict is verdict
    assert found["judge_kappa"].n == 80
    assert (found["judge_kappa"].low or 0) < (found["judge_kappa"].value or 0)
    assert ("People are not proven to agree" in result.text) == (verdict is not Verdict.PASS)
    assert judged_by(candidate) != before


@pytest.mark.parametrize(
    "line", ["{}", "x", '{"prompt": "a", "first": "b", "second": "c", "preferred": "left"}', ""]
)
def test_what_people_did_not_judge_is_refused_by_its_line(root: Path, line: str) -> None:
    candidate = judged_with(root, "{function: 'judging:longer', human: people.jsonl}")
    (root / "people.jsonl").unlink(missing_ok=True)
    with pytest.raises(InvalidInput, match="no pairs"):
        verdict_of(candidate)
    (candidate.root / "people.jsonl").write_text(line)
    with pytest.raises(InvalidInput, match=r"people\.jsonl(:1 is no pair| holds no pair)"):
        verdict_of(candidate)


@pytest.mark.parametrize("line", [b"\xff\xfe{}", b"[" * 100_000], ids=["no text", "nested beyond measure"])
def test_a_line_of_no_text_or_nested_beyond_measure_is_refused_by_its_line(root: Path, line: bytes) -> None:
    candidate = judged_with(root, "{function: 'judging:longer', human: people.jsonl}")
    (candidate.root / "people.jsonl").write_bytes(line)
    with pytest.raises(InvalidInput, match=r"people\.jsonl:1 is no pair"):
        verdict_of(candidate)


def test_a_file_of_people_is_read_as_any_jsonl_and_a_broken_line_is_refused_by_its_place(root: Path) -> None:
    candidate = judged_with(root, "{function: 'judging:longer', human: people.jsonl}")
    pair = (
        b'{"prompt": "a\xe2\x80\xa8b", "references": [], "first": "aa", "second": "a", "preferred": "first"}'
    )
    (root / "people.jsonl").write_bytes(b"\xef\xbb\xbf" + pair + b"\r\n" + pair.replace(b"a\xe2", b"\xe2"))
    _, found, _ = verdict_of(candidate)
    assert found["judge_kappa"].n == 2
    (root / "people.jsonl").write_bytes(pair.replace(b'"a\xe2\x80\xa8b"', b"5"))
    with pytest.raises(InvalidInput, match=r"gradatim\.yml:4: .*people\.jsonl:1 is no pair"):
        verdict_of(candidate)


def test_verdicts_that_lack_on_what_people_judged_are_counted_too(root: Path) -> None:
    candidate = judged_with(root, "{function: 'judging:unsure', human: people.jsonl}")
    pair = {"prompt": "a", "first": "b", "second": "c", "preferred": "first"}
    (root / "people.jsonl").write_text(f"{json.dumps(pair)}\n" * 3)
    assert verdict_of(candidate)[2].failed == 2 * (ROWS - 4 + 3)


def longer(body: dict[str, Any]) -> str:
    pair = json.loads(body["messages"][1]["content"])
    better = "first" if len(pair["first"]) > len(pair["second"]) else "second"
    return f'They differ: {{"better": "tie"}} would be wrong.\n{{"better": "{better}"}}'


@pytest.fixture
def server() -> Iterator[Asked]:
    pytest.importorskip("requests")
    with serving(longer) as asked:
        yield asked


def served(server: Asked, timeout: str = "5 s") -> str:
    return f"{{endpoint: {{url: '{server.url}', timeout: {timeout}}}, rubric: 'The longer, the better.'}}"


def test_a_served_model_judges_by_the_rubric_and_is_named(server: Asked, root: Path) -> None:
    server.faults += [status(429), no_json]
    candidate = judged_with(root, served(server))
    result, _, judging = verdict_of(candidate)
    assert result.verdict is Verdict.PASS
    assert "The longer, the better." in server.bodies[-1]["messages"][0]["content"]
    assert judging.judge == f"small at {server.url}"
    assert (judging.rubric, judging.failed) == ("The longer, the better.", 0)


def test_an_answer_without_a_verdict_is_a_pair_that_failed(server: Asked, root: Path) -> None:
    server.answer = lambda body: (
        "Both are nice." if '"5?"' in body["messages"][1]["content"] else longer(body)
    )
    candidate = judged_with(root, served(server))
    result, _, judging = verdict_of(candidate)
    assert "2 have none" in result.text  # that of row 5, and the one that the release owes
    assert judging.failed == 2
    assert "no verdict: 'Both are nice.'" in str(judging.reason)


def test_a_judge_that_is_away_is_an_error_that_names_it(server: Asked, root: Path) -> None:
    server.faults, server.forever = [status(401)], True
    with pytest.raises(EnvironmentLacks, match=r"task\.judge\.endpoint\.key"):
        verdict_of(judged_with(root, served(server)))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{rubric: x}", "one of the two"),
        ("{endpoint: 'http://127.0.0.1:1/v1'}", "goes with it"),
        ("{function: 'judging:longer', rubric: x}", "goes with it"),
        ("{endpoint: {url: 'http://example.org/v1', key: K}, rubric: x}", "clear text"),
        ("null", "name one under `task.judge`"),
    ],
)
def test_a_judge_that_cannot_be_is_refused_at_its_line(tmp_path: Path, said: str, told: str) -> None:
    (tmp_path / "gradatim.yml").write_text(CONTRACT.replace("JUDGE", said))
    with pytest.raises(ContractError, match=told):
        read_contract(tmp_path / "gradatim.yml")


def test_a_gate_of_a_stage_that_needs_a_judge_is_refused_where_it_stands(tmp_path: Path) -> None:
    text = CONTRACT.replace(", judge: JUDGE", "").replace("gates: {win_rate: {at_least: 45%}}\n", "")
    text = text.replace("{branch: main}", "{branch: main, gates: {win_rate: {at_least: 45%}}}")
    (tmp_path / "gradatim.yml").write_text(text)
    with pytest.raises(ContractError, match=r"gradatim\.yml:5:55: `win_rate` is what a judge says"):
        read_contract(tmp_path / "gradatim.yml")


def test_a_win_rate_is_at_least_something(tmp_path: Path) -> None:
    text = CONTRACT.replace("JUDGE", "judging:longer").replace(
        "at_least: 45%", "not_worse_than: baseline, by: 1%"
    )
    (tmp_path / "gradatim.yml").write_text(text)
    with pytest.raises(ContractError, match="say `at_least`"):
        read_contract(tmp_path / "gradatim.yml")
