"""Calls of several batch sizes and lengths: each is timed by pairs, told, and gated by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gate_project import GateProject, lay_down, named
from small_transformer import write_bert
from test_timing_paired import python_model

from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, GradatimError
from gradatim.gates.latency import paired_timings, shared_alpha
from gradatim.gates.verdict import Verdict
from gradatim.models import open_model, ready
from gradatim.pipeline.step import run_step
from gradatim.report.collect import collect
from gradatim.report.html import render_html
from gradatim.report.markdown import render_markdown
from gradatim.signature import Signature, TensorSpec
from gradatim.steps import gate
from gradatim.steps.benchmark import in_its_own_unit
from gradatim.timing.decision import LOOKS, Decision, look
from gradatim.timing.paired import Question, compare
from gradatim.timing.sizes import so_long, so_many

pytest.importorskip("onnxruntime")

FLOOR = "latency_floor"


def rows(batch: int) -> dict[str, np.ndarray]:
    return {"x": np.zeros((batch, 4), np.float32)}


@pytest.fixture(scope="module")
def sized(tmp_path_factory):
    """A candidate that is slow from eight rows on alone."""
    folder = tmp_path_factory.mktemp("sizes")
    slow = "len(inputs['x']) >= 8 and time.sleep(0.001)"
    return compare(
        [python_model(folder, "baseline"), python_model(folder, "candidate", extra=slow)],
        rows(1),
        questions=[
            Question("candidate", "baseline", metric=f"{FLOOR}[{size}]") for size in ("batch=1", "batch=8")
        ],
        rounds=4,
        sizes={"batch=1": rows(1), "batch=8": rows(8), "batch=3": rows(3)},
    )


def test_a_model_that_is_slower_for_large_batches_alone_is_found_slower_there(sized):
    (pair,) = sized.comparisons
    first, eighth = pair.answers
    assert eighth.decision is Decision.SLOWER
    assert first.decision is not Decision.SLOWER
    assert eighth.looks[-1].ratio > 1.5
    assert pair.decision is Decision.SLOWER


def test_what_stands_without_brackets_is_of_the_first_size(sized):
    one = sized.contestant("candidate")
    assert one.by_round[FLOOR] == one.by_round[f"{FLOOR}[batch=1]"]
    assert one.items == 1
    assert one.sizes == {"batch=1": 1, "batch=8": 8, "batch=3": 3}


def test_each_size_is_timed_in_the_same_rounds_whether_it_is_gated_or_not(sized):
    (pair,) = sized.comparisons
    assert {len(pair.differences[f"{FLOOR}[{size}]"]) for size in sized.contestant("baseline").sizes} == {4}
    assert pair.slowdown(f"{FLOOR}[batch=3]").ratio == pytest.approx(1, abs=0.2)


def test_throughput_counts_the_rows_of_its_own_size(sized):
    one = sized.contestant("baseline")
    told = {m.label: m for m in sized.measurements() if m.variant == "baseline"}
    eight = told["throughput[batch=8]"].value
    assert eight == pytest.approx(8 / told["latency_mean[batch=8]"].value)
    assert one.throughputs()["throughput[batch=8]"][0] == 8 / one.by_round["latency_mean[batch=8]"][0]


def test_several_sizes_together_raise_no_more_alarms_than_one():
    """Four sizes that have nothing to do with one another, none of them slower; the looks of ``compare``."""
    draw = np.random.default_rng(7)
    names = [f"{FLOOR}[batch={size}]" for size in (1, 2, 4, 8)]
    alpha, alarms, trials = shared_alpha(names), 0, 1500
    for series in draw.normal(0, 0.009, (trials, len(names), LOOKS[-1])):
        alarms += any(look(one[:n], 0.0, alpha=alpha).low > 1 for n in LOOKS for one in series.tolist())
    assert alarms <= 0.0058 * trials  # one size errs in 0.3 % of runs; two standard errors besides
    assert {
        paired.shared
        for paired in paired_timings({n: [0.1] for n in names}, dict.fromkeys(names, 1.0)).values()
    } == {alpha}


def test_rows_of_the_data_are_taken_again_where_it_has_fewer():
    taken = so_many({"x": np.arange(3)[:, None]}, 7)
    assert taken["x"][:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("bert")
    write_bert(folder)
    with ready(open_model(folder, root=folder), folder, constants={}, carries={}, tokenizer=None) as model:
        yield model


@pytest.mark.parametrize("length", [3, 7, 32])
def test_texts_are_of_so_many_tokens_of_the_models_own(reader, length):
    long = so_long({"text": np.array(["the match was good", "x"])}, length, reader)
    for text in long["text"]:
        assert next(iter(reader.encoded({"text": np.array([text])}).values())).shape == (1, length)
    assert next(iter(reader(long).values())).shape[0] == 2


def test_texts_that_the_tokenizer_would_cut_are_refused_with_the_longest_that_it_takes(reader):
    with pytest.raises(
        GradatimError, match="asks for texts of 100 tokens, and the model's tokenizer cuts them at 32"
    ):
        so_long({"text": np.array(["the match"])}, 100, reader)


class Shaped:
    """A predictor of which only the signature counts."""

    def __init__(self, *shapes: tuple[object, ...]) -> None:
        self.signature = Signature(tuple(TensorSpec(f"x{n}", "int64", s) for n, s in enumerate(shapes)), ())


def test_arrays_are_cut_or_go_on_from_their_start_along_their_free_axis():
    model = Shaped(("batch", "sequence"), ("batch", 4))
    given = {"x0": np.array([[1, 2, 3]]), "x1": np.ones((1, 4))}
    assert so_long(given, 5, model)["x0"].tolist() == [[1, 2, 3, 1, 2]]
    assert so_long(given, 2, model)["x0"].tolist() == [[1, 2]]
    assert so_long(given, 2, model)["x1"].shape == (1, 4)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (("batch", 4), "no input of the model has a free length"),
        (("batch", 3, "h", "w"), "one free axis besides the rows"),
    ],
)
def test_a_length_that_no_input_can_have_is_refused_in_words(shape, words):
    value = np.ones([1 if isinstance(size, str) else size for size in shape])
    with pytest.raises(GradatimError, match=words):
        so_long({"x0": value}, 5, Shaped(shape))


def test_a_time_is_told_in_its_own_unit(tmp_path: Path) -> None:
    told = [in_its_own_unit(seconds) for seconds in (2.0004, 0.0123, 4.12e-6)]
    assert told == ["2 s", "12.3 ms", "4.12 us"]


@pytest.fixture
def made(tmp_path: Path) -> GateProject:
    labels = np.arange(30) % 3
    return lay_down(tmp_path, labels, labels, labels)


def benchmark(made: GateProject, said: str, *gates: str) -> None:
    made.contract("\n".join(gates or ("accuracy: {at_least: 50%}",)))
    path = made.root / "gradatim.yml"
    path.write_text(f"{path.read_text()}benchmark: {said}\n")


@pytest.mark.parametrize(
    ("said", "line", "words"),
    [
        ("{batch: [1, 8]}", "latency_p50[batch=4]: {at_most: 1 s}", r"Write one of `latency_p50\[batch=1\]`"),
        ("{batch: 8}", "latency_p50[batch=8]: {at_most: 1 s}", "Declare several"),
        (
            "{batch: [1, 8]}",
            "first_result[batch=8]: {at_most: 1 s}",
            "is told of the first size of call alone",
        ),
        ("{batch: [1, 1]}", "latency_p50: {at_most: 1 s}", "each once and at least 1"),
        ("{batch: []}", "latency_p50: {at_most: 1 s}", "each once and at least 1"),
        ("{batch: 0}", "latency_p50: {at_most: 1 s}", "each once and at least 1"),
        ("{batch: [1, 2, 3, 4], lengths: [1, 2, 3, 4]}", "latency_p50: {at_most: 1 s}", "16 sizes of call"),
    ],
)
def test_a_size_that_is_not_timed_is_refused_where_it_stands(made, said, line, words):
    benchmark(made, said, line)
    with pytest.raises(ContractError, match=words):
        read_contract(made.root / "gradatim.yml")


def test_a_length_that_the_model_has_not_is_blamed_on_its_line(made):
    benchmark(made, "{rounds: 3, lengths: [16, 32]}")
    run_step("inspect", made.release())
    with pytest.raises(GradatimError, match=r"gradatim\.yml:\d+.*no input of the model has a free length"):
        run_step("benchmark", made.release())


def test_gates_judge_the_size_that_they_name_and_the_report_shows_all(made):
    lines = ("latency_p50[batch=40]: {at_most: 10 s}", "latency_floor: {not_slower_than: baseline, by: 900%}",
             "latency_floor[batch=40]: {not_slower_than: baseline, by: 900%}",
             "throughput[batch=40]: {at_least: 1e9}")  # fmt: skip
    benchmark(made, "{rounds: 4, batch: [9, 40]}", *lines)
    for step in ("inspect", "evaluate", "benchmark"):
        assert run_step(step, made.release()).code == 0
    outcome = gate.run(made.release())
    assert named(outcome, "latency_p50[batch=40]").verdict is Verdict.PASS
    assert named(outcome, "latency_floor").verdict is Verdict.PASS
    assert named(outcome, "latency_floor[batch=40]").verdict is Verdict.PASS
    assert named(outcome, "latency_mean[batch=40]").verdict is Verdict.PASS, (
        "the guard stands beside its own size"
    )
    assert named(outcome, "throughput[batch=40]").verdict is Verdict.FAIL
    report = collect(made.release(), outcome)
    assert [row.size for row in report.latency.sizes] == ["batch=9", "batch=40"]
    assert not any(one.metric.startswith(("latency", "throughput")) for one in report.slices), (
        "no slice of the data"
    )
    for text in (render_markdown(report), render_html(report)):
        assert "batch=40" in text
        assert "floor beside the baseline" in text
