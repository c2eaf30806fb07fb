"""Verdicts as someone without statistics reads them: what was asked, what was found, how sure that is, what to do next."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import report_examples as examples

from gradatim.gates.case import Case
from gradatim.gates.judge import judge
from gradatim.gates.latency import PairedTiming
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.report.html import render_html
from gradatim.report.markdown import render_markdown
from gradatim.report.sentences import summary
from gradatim.report.verdicts import plainly

KINDS = Task("classification", ("cat", "dog"))


def seen(n: int, wrong: int, before: int = 0, **more: object) -> Case:
    """A classifier that is wrong on the first samples, and a baseline that is wrong on the last."""
    labels = np.array(["cat", "dog"] * n)[:n]
    other = np.where(labels == "cat", "dog", "cat")
    answers, old = labels.copy(), labels.copy()
    answers[:wrong] = other[:wrong]
    old[n - before :] = other[n - before :]
    baseline = Evaluation(KINDS, Predictions.of({"label": old}, labels))
    candidate = Evaluation(KINDS, Predictions.of({"label": answers}, labels), baseline)
    return Case("original", candidate=candidate, baseline=baseline, **more)  # type: ignore[arg-type]


def timed(ratio: float, spread: float) -> Case:
    rounds = [math.log(ratio) + spread * (1 if i % 2 else -1) for i in range(10)]
    return Case("original", timings={"latency_p50": PairedTiming(rounds, 2e-3, 2e-3 * ratio)})


def weighing(size: int) -> Case:
    return Case("original", [Measurement("size", "original", float(size), unit="B")])


AT_LEAST = Rule("accuracy", "accuracy", "at_least", 0.9)
NOT_WORSE = Rule("accuracy", "accuracy", "not_worse", 0.02)
FLIPS = Rule("negative_flips", "negative_flips", "at_most", 0.02)
FASTER = Rule("latency_p50", "latency_p50", "not_worse", 0.05, relative=True)
SIZE = Rule("size", "size", "at_most", 1e6)

TOLD = {
    "a pass on a bound": (
        AT_LEAST, seen(900, 20), Verdict.PASS,
        "Asked: at least 90 %. Found: 97.8 % on 900 samples; even at the worst that these allow, 96.8 %.",
    ),
    "a pass beside the baseline": (
        NOT_WORSE, seen(900, 10, 20), Verdict.PASS,
        ("Asked: not worse than the baseline by more than 2 points. Found: 1.1 points better on 900 samples; even at the worst "
        "that these allow, 0.1 points better."),
    ),
    "a pass of time": (
        FASTER, timed(0.6, 0.01), Verdict.PASS,
        ("Asked: not slower than the baseline by more than 5 %. Found: 40.0 % faster in 10 rounds; even at the worst that these "
        "allow, 39.6 % faster."),
    ),
    "a pass that is counted": (
        SIZE, weighing(120_000), Verdict.PASS,
        "Asked: at most 1 MB. Found: 120 kB, which is counted, not estimated.",
    ),
    "a fail on a bound": (
        AT_LEAST, seen(200, 50), Verdict.FAIL,
        ("Asked: at least 90 %. Found: 75.0 % on 200 samples; even at the best that these allow, 80.0 %. More samples would not "
        "change that: it takes a better model, or a gate that asks for less."),
    ),
    "a fail beside the baseline": (
        NOT_WORSE, seen(900, 80, 10), Verdict.FAIL,
        ("Asked: not worse than the baseline by more than 2 points. Found: 7.8 points worse on 900 samples; even at the best that "
        "these allow, 6.2 points worse. More samples would not change that: it takes a better model, or a gate that asks for less."),
    ),
    "a fail that is counted": (
        SIZE, weighing(2_500_000), Verdict.FAIL,
        ("Asked: at most 1 MB. Found: 2.50 MB, which is counted, not estimated. It takes a smaller model, or a gate that asks for "
        "less."),
    ),
    "undecided for want of samples": (
        AT_LEAST, seen(60, 2), Verdict.INCONCLUSIVE,
        ("Asked: at least 90 %. Found: 96.7 % on 60 samples; truly it may be anything from 89.9 % to 99.4 %, which is on both "
        "sides of what is asked. Give it about 110 samples, or a gate that asks for less."),
    ),
    "undecided, and rather missed": (
        FLIPS, seen(100, 4), Verdict.INCONCLUSIVE,
        ("Asked: at most 2 %. Found: 4.0 % on 100 samples; truly it may be anything from 8.9 % to 1.4 %, which is on both sides "
        "of what is asked. What was found misses what is asked: a better model helps more than more samples."),
    ),
    "undecided for noise of the machine": (
        FASTER, timed(1.0, 0.12), Verdict.INCONCLUSIVE,
        ("Asked: not slower than the baseline by more than 5 %. Found: the same in 10 rounds; truly it may be anything from 7.6 % "
        "slower to 7.1 % faster, which is on both sides of what is asked. Give it about 23 rounds, or a gate that asks for less."),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOLD)
def test_a_verdict_says_what_was_asked_and_found_how_sure_that_is_and_what_to_do_next(kind: str) -> None:
    rule, case, verdict, told = TOLD[kind]
    (result,) = judge([rule], case)
    assert (result.verdict, plainly(result).replace("\N{NO-BREAK SPACE}", " ")) == (verdict, told)


def test_what_was_not_measured_and_a_first_release_are_told_by_the_gate_itself() -> None:
    for rule, case in ((SIZE, Case("original")), (NOT_WORSE, Case("original", first_release=True))):
        (result,) = judge([rule], case)
        assert not plainly(result)
        assert result.text


def test_the_report_begins_with_one_plain_sentence_of_why() -> None:
    refused = summary(examples.refused()).replace("\N{NO-BREAK SPACE}", " ")
    assert refused == (
        "Refused by recall[class=8]. Asked: at least 90 %. Found: 79.5 % on 44 samples; even at the best that these allow, 88.8 %. "
        "More samples would not change that: it takes a better model, or a gate that asks for less. Nothing was tagged."
    )  # fmt: skip
    passed = summary(examples.passed()).replace("\N{NO-BREAK SPACE}", " ")
    assert passed.startswith(
        "Every gate passed. Asked of accuracy: not worse than the baseline by more than 1 point. Found: "
    )
    for report in (examples.refused(), examples.passed()):
        plain = re.sub(r"\\(.)", r"\1", render_markdown(report).split("### ")[0])
        assert summary(report).replace("\N{NO-BREAK SPACE}", " ") in plain.replace("\N{NO-BREAK SPACE}", " ")
        assert summary(report) in render_html(report).replace("&#39;", "'")


def test_rows_that_say_the_same_are_one_row_and_the_rest_can_be_unfolded() -> None:
    report = examples.refused()
    rows = re.findall(r"^\| .*`recall\[class=\d\]`.*$", render_markdown(report), re.MULTILINE)
    assert len(rows) == 10
    before, _, after = render_markdown(report).partition("<details>")
    shown = [row for row in rows if row in before]
    assert len(shown) == 2  # the refused one, and the weakest of the nine
    assert "`recall[class=8]`" in shown[0]
    assert "`recall[class=6]`" not in shown[1]
    assert "8 more like it" in shown[1]
    assert "8 gates like those shown" in after
    page = render_html(report)
    assert page.count("<code>recall[class=") == 11  # the card, and each row once
    table = page[page.index('<table class="gates">') :]
    assert table[: table.index("</table>")].count("<code>recall[class=") == 2


def test_how_often_it_may_be_wrong_is_said_to_its_end() -> None:
    told = (
        "How often this may be wrong: "
        + "a candidate that breaks a rule is released in at most 5 % of cases. " * 6
        + "The end."
    )
    report = replace(examples.refused(), budget=told)
    for shown in (render_html(report), render_markdown(report), render_markdown(replace(report, gates=()))):
        assert "The end." in shown


def test_a_table_of_variants_is_read_at_390_pixels_as_rows_that_name_their_numbers() -> None:
    page = render_html(examples.refused())
    variants = page[page.index('<table class="variants">') :]
    for label in ("Accuracy", "F1 macro", "Size", "Time per call"):
        assert f'data-label="{label}"' in variants
    assert "@media (max-width:560px){.variants" in page


def test_a_gate_that_refuses_or_warns_is_never_folded_away() -> None:
    report = examples.refused()
    failing = tuple(replace(gate, verdict=Verdict.FAIL) for gate in report.gates)
    assert "more like it" not in render_markdown(replace(report, gates=failing))
    few: tuple[GateResult, ...] = report.gates[:4]
    assert "more like it" not in render_markdown(replace(report, gates=few))


def test_a_pass_that_was_held_against_nothing_says_so_beside_its_verdict() -> None:
    unheld = GateResult(
        "accuracy", "accuracy", Verdict.PASS, "original", "not worse than the baseline by more than 1 point",
        "Nothing was released before; there is nothing to compare with.",
    )  # fmt: skip
    report = replace(examples.passed(), gates=(unheld, *examples.passed().gates))
    row = re.search(r"<tr>(?:(?!</tr>).)*<code>accuracy</code>.*?</tr>", render_html(report), re.DOTALL)
    assert row is not None
    assert "Nothing was released before" in row[0]
    (line,) = [line for line in render_markdown(report).splitlines() if "`accuracy`<br>" in line]
    assert "Nothing was released before" in line
