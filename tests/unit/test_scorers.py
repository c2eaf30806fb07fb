"""Each scorer of generated text: what it says of an answer, against the field's own reckoning."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradatim.contract.generation import ScorerSection
from gradatim.errors import InvalidInput
from gradatim.gates.compare import compare
from gradatim.metrics.answers import TextAnswer
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.scored import pass_at, score_batch
from gradatim.metrics.scorers import matching, overlap, structured
from gradatim.metrics.scorers.table import SCORERS, Scoring
from gradatim.metrics.task import Task


def evaluated(
    name: str,
    answers: list[TextAnswer],
    references: list[Any] | None,
    *,
    own: Callable[[Any, Any], Any] | None = None,
    choices: list[str] | None = None,
    groups: Any = None,
    reference: Evaluation | None = None,
    samples: int = 1,
    **settings: Any,
) -> Evaluation:
    """Answers under one scorer, as `evaluate` leaves them."""
    by = settings.pop("by", None)
    kind = None if own else SCORERS[by or name]
    task = Task("generation", scorers=(Scoring(name, kind, settings, own),), samples=samples)
    requests = [json.dumps({"prompt": "x", **({"choices": choices} if choices else {})})] * len(answers)
    labels = None if references is None else [json.dumps(one) for one in references]
    outputs = {"answer": np.array([one.to_text() for one in answers], object)}
    kept = score_batch(task, outputs, {"request": np.array(requests, object)}, labels)
    return Evaluation(task, Predictions.of(kept, labels, groups=groups), reference)


def said(*texts: str) -> list[TextAnswer]:
    return [TextAnswer((text,), (False,)) for text in texts]


def value(name: str, answers: list[TextAnswer], references: list[Any] | None, **settings: Any) -> float:
    found = evaluated(name, answers, references, **settings).samples(name).value
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("answer", "references", "exact", "normalised"),
    [
        ("Paris", ["Paris"], True, True),
        (" Paris\n", ["Paris"], True, True),
        ("the Paris!", ["Paris"], False, True),
        ("\uff30aris", ["paris"], False, True),
        ("Paris, France", ["Paris"], False, False),
        ("", ["Paris"], False, False),
        ("no", ["yes", "no"], True, True),
    ],
)
def test_matches_are_letter_by_letter_or_normalised(
    answer: str, references: list[str], exact: bool, normalised: bool
) -> None:
    assert matching.exact(answer, references) is exact
    assert matching.normalised(answer, references) is normalised


def test_a_regular_expression_takes_the_part_that_counts_and_numbers_as_numbers() -> None:
    pattern = r"#### (-?[\d.,]+)"
    worked = "6 times 7 is 42 ... #### 1,000"
    assert matching.extracted(worked, ["so it is\n#### 1000.0"], regex=pattern)
    assert not matching.extracted("#### 999", ["#### 1000"], regex=pattern)
    assert not matching.extracted("no number", ["#### 1000"], regex=pattern)
    assert matching.extracted("first 3, then 4", ["4"], regex=r"\d", take="last")
    assert not matching.extracted("first 3, then 4", ["4"], regex=r"\d")


def test_words_are_looked_for_in_the_references_or_in_the_contract() -> None:
    assert matching.contains("I cannot do that", ["CANNOT"])
    assert matching.contains("no", ["yes"], words=["no"])
    assert matching.not_contains("the key is 1234", ["secret"])
    assert not matching.not_contains("My Secret", ["secret"])
    assert value("not_contains", said("fine", "the password is x"), None, words=["password"]) == 0.5


def test_json_is_valid_of_its_schema_or_it_is_not() -> None:
    schema = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}
    assert structured.json_valid('{"city": "Rome"}', [], json_schema=schema)
    for broken in ('{"city": 3}', "{}", 'Here it is: {"city": "Rome"}', '{"city": "Rome"', "NaN", ""):
        assert not structured.json_valid(broken, [], json_schema=schema)
    assert structured.json_valid("[1]", [])
    with pytest.raises(InvalidInput, match="no JSON schema"):
        structured.json_valid("1", [], json_schema={"type": "citty"})


def test_the_right_choice_is_the_likeliest_or_the_likeliest_by_letter() -> None:
    choices = ["a very long wrong answer", "right"]
    answers = [
        TextAnswer(choices=(-10.0, -9.0)),
        TextAnswer(choices=(-10.0, -9.0)),
        TextAnswer(choices=(-1.0, -2.0)),
    ]
    assert value("acc", answers, ["right", 1, 1], choices=choices) == pytest.approx(2 / 3)
    assert value("acc_norm", answers, ["right", 1, 0], choices=choices) == pytest.approx(1 / 3)
    with pytest.raises(InvalidInput, match="none of"):
        value("acc", answers, ["right", 2, 1], choices=choices)


def test_bleu_of_all_answers_is_sacrebleus_and_so_are_chrf_and_rouge_their_packages() -> None:
    sacrebleu, rouge = pytest.importorskip("sacrebleu"), pytest.importorskip("rouge_score.rouge_scorer")
    answers = [
        "the cat sat on the mat",
        "a dog ran in the old park today",
        "there is nothing alike here at all",
    ]
    references = ["the cat sat on a mat", "a dog ran in the new park", "we know nothing of any of it"]
    wanted = sacrebleu.corpus_bleu(answers, [references]).score / 100
    assert value("bleu", said(*answers), references) == pytest.approx(wanted, rel=1e-9)
    smoothed = sacrebleu.corpus_bleu(answers[2:], [references[2:]]).score / 100
    assert value("bleu", said(*answers[2:] * 2), references[2:] * 2) < 0.2
    assert float(overlap.bleu_of(np.array([overlap.bleu(answers[2], references[2:])]))[0]) == pytest.approx(
        smoothed
    )
    assert value("bleu", said("", ""), references[:2]) == 0
    chrf = np.mean(
        [sacrebleu.sentence_chrf(a, [r]).score / 100 for a, r in zip(answers, references, strict=True)]
    )
    assert value("chrf", said(*answers), references) == pytest.approx(chrf)
    for kind in ("rouge1", "rouge2", "rougeL"):
        scorer = rouge.RougeScorer([kind])
        each = [scorer.score(r, a)[kind].fmeasure for a, r in zip(answers, references, strict=True)]
        assert value(kind, said(*answers), references) == pytest.approx(np.mean(each))


def test_words_and_letters_misheard_are_jiwers() -> None:
    jiwer = pytest.importorskip("jiwer")
    answers, references = ["he lo world", "good morning to all"], ["hello world", "good morning"]
    assert value("wer", said(*answers), references) == pytest.approx(jiwer.wer(references, answers))
    assert value("cer", said(*answers), references) == pytest.approx(jiwer.cer(references, answers))
    assert value("wer", [TextAnswer(error="429"), *said("good morning")], references) == pytest.approx(0.5)
    with pytest.raises(InvalidInput, match="nothing to mishear"):
        value("wer", said("x"), [""])


def test_bits_per_byte_are_over_all_rows_together() -> None:
    answers = [TextAnswer(target=(-10 * math.log(2), 5)), TextAnswer(target=(-2 * math.log(2), 7))]
    assert value("bits_per_byte", answers, ["five.", "seven.."]) == pytest.approx(1.0)
    with pytest.raises(InvalidInput, match="no likelihood"):
        value("bits_per_byte", [TextAnswer(error="500")], ["five."])


def test_pass_at_k_is_the_unbiased_estimator() -> None:
    """Against every draw of k of n answers, and the numbers that Chen et al. (2021) publish code for."""
    for n, right, k in ((5, 2, 1), (5, 2, 3), (10, 1, 5), (7, 0, 3), (4, 4, 2), (6, 5, 2)):
        marks = [True] * right + [False] * (n - right)
        draws = list(itertools.combinations(marks, k))
        assert pass_at(n, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert pass_at(200, 10, 1) == pytest.approx(0.05)
    assert pass_at(200, 10, 100) == pytest.approx(1 - math.comb(190, 100) / math.comb(200, 100))
    with pytest.raises(InvalidInput, match="samples"):
        pass_at(3, 1, 5)


def test_pass_at_k_counts_a_problem_once_however_many_answers_it_has() -> None:
    def passes(references: list[str], answers: list[str]) -> list[bool]:
        return [one == other for one, other in zip(references, answers, strict=True)]

    problems = [
        TextAnswer(("4", "5", "4"), (False,) * 3),
        TextAnswer(("1", "2", "3"), (False, True, False)),
    ] * 20
    found = evaluated("pass_at_2", problems, ["4", "2"] * 20, own=passes, samples=3).samples("pass_at_2")
    assert found.value == pytest.approx(0.5 * pass_at(3, 2, 2))  # the second's right answer was cut off
    assert found.n == 40
    same = evaluated("pass_at_2", problems, ["4", "2"] * 20, by="exact_match", samples=3).samples("pass_at_2")
    assert same.value == pytest.approx(found.value)
    grouped = evaluated(
        "pass_at_2", problems, ["4", "2"] * 20, own=passes, samples=3, groups=[n // 4 for n in range(40)]
    )
    assert grouped.samples("pass_at_2").n == 10


def test_a_request_that_failed_or_was_cut_off_is_a_row_that_failed() -> None:
    answers = [*said("a", "a"), TextAnswer(error="HTTP 429"), TextAnswer(("a",), (True,))]
    assert value("exact_match", answers, ["a"] * 4) == 0.5
    assert value("not_contains", answers, None, words=["b"]) == 0.5
    assert value("own", answers, ["a"] * 4, own=lambda references, texts: [1.0] * len(texts)) == 0.5
    lenient = Task("generation", scorers=(Scoring("exact_match", SCORERS["exact_match"]),), cut_off="score")
    outputs = {"answer": np.array([one.to_text() for one in answers], object)}
    kept = score_batch(lenient, outputs, {"request": np.array(["{}"] * 4, object)}, ['"a"'] * 4)
    assert kept["score:exact_match"].tolist() == [1, 1, 0, 1]


def test_an_own_scorer_gives_one_finite_number_an_answer() -> None:
    assert (
        value("length", said("abc", "a"), ["x", "y"], own=lambda refs, texts: [len(t) for t in texts]) == 2.0
    )
    for wrong in ([1.0], [1.0, math.nan], "ab", [[1, 2], [3]]):
        with pytest.raises(InvalidInput, match="one"):
            value("length", said("abc", "a"), ["x", "y"], own=lambda refs, texts, wrong=wrong: wrong)


def test_answers_that_no_one_can_read_are_refused_by_their_row() -> None:
    task = Task("generation", scorers=(Scoring("exact_match", SCORERS["exact_match"]),))
    for line in (
        "hello",
        "[1]",
        '{"texts": [3]}',
        '{"texts": ["a"], "cut": []}',
        '{"choices": ["x"]}',
        '{"choices": [NaN]}',
    ):
        outputs = {"answer": np.array(['{"texts": ["a"]}', line], object)}
        if line == '{"texts": ["a"], "cut": []}':
            continue  # nothing was cut off
        with pytest.raises(InvalidInput, match="row 2"):
            score_batch(task, outputs, {"request": np.array(["{}"] * 2, object)}, ['"a"'] * 2)


def test_the_published_pair_of_runs_differs_by_rows_and_not_by_means() -> None:
    """220 prompts: an unpaired test of the two means says p = .080, McNemar's .008."""
    from scipy.stats import norm

    both, gains, losses = 146, 26, 10
    new = [True] * (both + gains) + [False] * (220 - both - gains)
    old = [True] * both + [False] * gains + [True] * losses + [False] * (220 - both - gains - losses)
    a, b = np.mean(new), np.mean(old)
    pooled = (a + b) / 2
    unpaired = 2 * norm.sf((a - b) / math.sqrt(2 * pooled * (1 - pooled) / 220))
    assert unpaired == pytest.approx(0.080, abs=0.0015)
    first = evaluated("exact_match", said(*("y" if right else "n" for right in new)), ["y"] * 220)
    second = evaluated(
        "exact_match", said(*("y" if right else "n" for right in old)), ["y"] * 220, reference=first
    )
    found = compare(first.samples("exact_match"), second.samples("exact_match"), margin=0.0, alpha=0.025)
    assert (found.gains, found.losses) == (gains, losses)
    assert found.low is not None
    assert found.low > 0  # proven better where the unpaired test shrugs
    worse = compare(
        second.samples("exact_match"), first.samples("exact_match"), margin=0.0, alpha=0.025, veto=True
    )
    assert worse.p_worse is not None
    assert 2 * worse.p_worse == pytest.approx(0.008, abs=0.003)
    flips = second.samples("negative_flips")
    assert flips.successes == gains


def test_a_bleu_gate_is_paired_by_rows() -> None:
    pytest.importorskip("sacrebleu")
    references = [
        f"the {word} sat on the mat number {n}" for n, word in enumerate(["cat", "dog", "cow"] * 20)
    ]
    good = evaluated("bleu", said(*references), references)
    changed = [text.replace("sat on", "sits at") if n % 4 else text for n, text in enumerate(references)]
    worse = evaluated("bleu", said(*changed), references)
    found = compare(worse.samples("bleu"), good.samples("bleu"), margin=0.1, alpha=0.05)
    assert found.high is not None
    assert found.high < -0.1
    same = compare(good.samples("bleu"), good.samples("bleu"), margin=0.01, alpha=0.05)
    assert same.value == 0


@pytest.mark.parametrize(
    ("name", "section", "match"),
    [
        ("exactmatch", {}, "there is no scorer"),
        ("pass_at_1", {}, "`by` or `function`"),
        ("pass_at_1", {"by": "bleu"}, "right"),
        ("regex_match", {}, "needs `regex`"),
        ("exact_match", {"words": ["x"]}, "does not take `words`"),
        ("mine", {"function": "a:b", "regex": "x"}, "nothing else"),
    ],
)
def test_a_scorer_that_makes_no_sense_is_refused(name: str, section: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ScorerSection(**section).scoring(name)


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        (
            {"text": np.array(["a", "b"], object)},
            r"2 texts for 2 prompts, and 3 answers to each are asked for",
        ),
        ({"text": np.array([["a", "b", "c"]], object)}, r"3 texts for 2 prompts"),
        ({"answer": np.array(['{"texts": ["a"]}'], object)}, r"1 answer to 2 prompts"),
    ],
)
def test_answers_that_are_not_as_many_as_were_asked_for_are_refused_in_words(outputs: Any, says: str) -> None:
    task = Task("generation", scorers=(Scoring("exact_match", SCORERS["exact_match"]),), samples=3)
    asked = {"request": np.array(['{"prompt": "x"}', '{"prompt": "y"}'], object)}
    with pytest.raises(InvalidInput, match=says):
        score_batch(task, outputs, asked, np.array(['"a"', '"a"'], object))


def test_a_function_may_give_several_answers_to_a_prompt_as_a_table_of_texts() -> None:
    scorers = (Scoring("pass_at_1", SCORERS["exact_match"]),)
    task = Task("generation", scorers=scorers, samples=2)
    asked = {"request": np.array(['{"prompt": "x"}', '{"prompt": "y"}'], object)}
    texts = {"text": np.array([["a", "b"], ["a", "a"]], object)}
    assert list(score_batch(task, texts, asked, np.array(['"a"', '"a"'], object))["score:pass_at_1"]) == [
        0.5,
        1.0,
    ]


def test_a_model_that_tells_no_likelihood_of_its_choices_is_refused_and_not_always_wrong() -> None:
    task = Task("generation", scorers=(Scoring("acc", SCORERS["acc"]),))
    asked = {"request": np.array(['{"prompt": "x", "choices": ["a", "b"]}'], object)}
    with pytest.raises(InvalidInput, match="`acc` needs the likelihood of each of `choices`"):
        score_batch(task, {"text": np.array(["a"], object)}, asked, np.array(['"a"'], object))
    failing = {"answer": np.array([TextAnswer(error="too long").to_text()], object)}
    assert list(score_batch(task, failing, asked, np.array(['"a"'], object))["score:acc"]) == [0.0]
