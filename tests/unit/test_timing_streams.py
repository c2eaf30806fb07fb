"""The benchmark of language models: each token at its time, on real servers and a real model, and no request dropped."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from registry_examples import commit_file, git, new_repository
from streaming_server import Handler, Pace, streaming

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, EnvironmentLacks, InvalidInput
from gradatim.gates.verdict import Verdict
from gradatim.metrics.answers import REQUEST
from gradatim.models import open_model
from gradatim.models.predictor import Predictor
from gradatim.models.streaming import Streamed, ask, timed_request
from gradatim.pipeline.step import run_step
from gradatim.report.markdown import render_markdown
from gradatim.report.model import Estimate, Latency, Report
from gradatim.signature import Signature, TensorSpec
from gradatim.timing.contestant import Contestant
from gradatim.timing.paired import Question, compare
from gradatim.timing.rounds import Log, Turn
from gradatim.timing.streams import WARM_UP, Streaming

pytest.importorskip("requests")

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())
ROWS = tuple(json.dumps({"prompt": f"say {row}", "temperature": 0.0, "stop": ["x"]}) for row in range(3))


@pytest.fixture
def pace() -> Iterator[Pace]:
    with streaming(Pace()) as found:
        yield found


def asked_at(pace: Pace, timeout: float = 5.0) -> dict[str, object]:
    return {"url": pace.url, "model": None, "key": None, "timeout": timeout, "parallel": 1, "loopback": True}


def opened(pace: Pace) -> Predictor:
    return open_model(Path("served"), root=Path(), signature=ASKED, endpoint=asked_at(pace))


def once(predictor: Predictor, tokens: int = 8) -> Streamed:
    return ask(predictor, timed_request(ROWS[0], tokens, random.Random()))


def test_each_token_is_told_when_it_came(pace: Pace) -> None:
    pace.first, pace.token = 0.05, 0.01
    with opened(pace) as predictor:
        found = once(predictor)
    assert found.tokens == len(found.times) == 8
    assert found.times[0] >= 0.05
    assert found.times[-1] >= 0.05 + 7 * 0.01
    assert list(found.times) == sorted(found.times)
    assert found.seconds >= found.times[-1]


def test_no_prompt_begins_as_another_did_and_nothing_ends_an_answer_early(pace: Pace) -> None:
    with opened(pace) as predictor:
        for _ in range(8):
            once(predictor)
    assert len({body["prompt"][:15] for body in pace.bodies}) == 8
    assert all(body["prompt"].endswith("\nsay 0") for body in pace.bodies)
    for body in pace.bodies:
        assert (body["max_tokens"], body["ignore_eos"], body["stream"]) == (8, True, True)
        assert "stop" not in body


def test_a_server_that_refuses_more_than_openais_api_is_asked_without_that(pace: Pace) -> None:
    def strict(handler: Handler) -> bool:
        if "ignore_eos" in handler.body:
            handler.say(400, {"error": {"message": "unknown parameter ignore_eos"}})
            return True
        return False

    pace.fault = strict
    with opened(pace) as predictor:
        assert not any(once(predictor).failed for _ in range(2))
    assert ["ignore_eos" in body for body in pace.bodies] == [True, False, False]


def half(handler: Handler) -> bool:
    handler.stream(3, whole=False)
    return True


def busy(handler: Handler) -> bool:
    handler.say(429, {"error": {"message": "slow down"}})
    return True


def told(*events: object) -> Callable[[Handler], bool]:
    def fault(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for event in events:
            handler.wfile.write(
                b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode())
            )
            handler.wfile.write(b"\n\n")
        handler.close_connection = True
        return True

    return fault


def so(**others: object) -> dict[str, object]:
    return {"model": "small", "choices": [{"text": " so", "finish_reason": None, **others}]}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (half, "half a"),
        (busy, "HTTP 429: slow down"),
        (told(so(), b"{not json"), "an event that is no JSON object"),
        (told(so(), {"error": {"message": "out of memory"}}), "out of memory"),
        (told({"object": "else"}), "an answer that OpenAI's API does not have"),
        (told(so(), {**so(finish_reason="stop"), "usage": {"completion_tokens": 1e400}}), ""),
        (told(so(finish_reason="stop")), "no time between two tokens"),
        (told(), "no stream of events"),
    ],
)
def test_an_answer_that_breaks_off_or_is_refused_failed_for_a_reason_and_is_not_asked_again(
    pace: Pace, fault: Callable[[Handler], bool], reason: str
) -> None:
    pace.fault = fault
    with opened(pace) as predictor:
        found = once(predictor)
    assert bool(found.failed) == bool(reason)
    assert reason in found.failed
    assert len(pace.bodies) == 1


def test_an_answer_by_another_model_ends_the_benchmark_and_so_do_eight_failures_in_a_row(pace: Pace) -> None:
    pace.fault = told({**so(), "model": "large"})
    with opened(pace) as predictor:
        with pytest.raises(InvalidInput, match="`large` answered"):
            once(predictor)
        pace.fault = busy
        assert all(once(predictor).failed for _ in range(7))
        with pytest.raises(EnvironmentLacks, match="8 times in a row, the last time with HTTP 429"):
            once(predictor)


def log(*answers: Streamed) -> Log:
    turn = Turn(1, "perf_counter", 0.1)
    for answer in answers:
        turn.answered(answer)
    found = Log(Contestant("candidate", Path("x"), Path()), {"ttft": 0.1, "tpot": 0.05})
    found.turns = [turn] * 3
    return found


def test_every_figure_is_what_its_name_says() -> None:
    one = Streamed((0.1, 0.14, 0.18), 5, 0.2)  # five tokens in three pieces
    other = Streamed((0.2, 0.21, 0.25), 3, 0.3)
    found = {metric: log(one, other).by_round(metric)[0] for metric in log(one).metrics if "p9" not in metric}
    assert found["ttft_mean"] == found["ttft_p50"] == pytest.approx(0.15)
    assert found["tpot_mean"] == pytest.approx((0.08 / 4 + 0.05 / 2) / 2)
    assert found["itl_p50"] == pytest.approx(0.04)
    assert found["latency_mean"] == pytest.approx(0.25)
    assert found["output_token_throughput"] == pytest.approx(8 / 0.5)
    assert found["goodput"] == pytest.approx(1 / 0.5)


def test_of_a_model_whose_requests_failed_no_time_is_told_and_no_comparison_made(pace: Pace) -> None:
    def third(handler: Handler) -> bool:
        return busy(handler) if len(slow.bodies) == WARM_UP + 3 else False

    with streaming(Pace(fault=third)) as slow:
        signature = {"signature": ASKED, "root": Path(tempfile.gettempdir())}
        pair = [
            Contestant(name, Path("served"), endpoint=asked_at(one), **signature)  # type: ignore[arg-type]
            for name, one in (("baseline", pace), ("candidate", slow))
        ]
        found = compare(
            pair,
            {REQUEST: np.array(ROWS[:1])},
            questions=[Question("candidate", "baseline", metric="ttft_p50")],
            streaming=Streaming(ROWS, 4, 4),
        )
    measured = {(m.name, m.variant): m for m in found.measurements()}
    assert measured["ttft_p50", "baseline"].value
    assert measured["ttft_p50", "candidate"].value is None
    assert measured["latency_mean", "candidate"].reason == "1 of 4 requests failed: HTTP 429: slow down"
    assert "candidate: 1 of 4 requests failed" in str(found.comparisons[0].reason)
    assert len(pace.bodies) == WARM_UP + 4


def test_memory_and_energy_of_a_model_on_another_machine_are_null_with_the_reason(
    pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = Contestant(
        "candidate",
        Path("served"),
        Path(tempfile.gettempdir()),
        signature=ASKED,
        endpoint={**asked_at(pace), "loopback": False},
    )
    found = compare([served], {REQUEST: np.array(ROWS[:1])}, rounds=2, streaming=Streaming(ROWS, 4, 2))
    measured = {one.name: one for one in found.measurements()}
    assert (measured["memory"].value, measured["energy"].value) == (None, None)
    assert "server" in str(measured["memory"].reason)
    assert "server" in str(measured["energy"].reason)


def test_a_server_that_must_wake_up_first_does_not_set_what_a_round_is_said_to_take(pace: Pace) -> None:
    def asleep(handler: Handler) -> bool:
        time.sleep(0.5 if len(pace.bodies) == 1 else 0)
        return False

    pace.fault = asleep
    with opened(pace) as predictor:
        assert Streaming(ROWS, 4, 8).seconds(predictor) < 0.5


def test_the_report_names_what_was_compared() -> None:
    told = Report(
        "small", Verdict.PASS, latency=Latency(ratio=Estimate(1.05, 1.02, 1.08), decision="tpot_mean: slower")
    )
    assert "TPOT mean +5.0" in render_markdown(told)
    assert Latency(decision="latency_floor: faster").timed == "time per call"


CONTRACT = """
model: {name: small, endpoint: {url: URL, timeout: 5 s}}
data: {evaluation: test.jsonl}
task: {type: generation, scorers: [exact_match]}
benchmark: {rounds: 3, streaming: {tokens: 4, prompts: 4, goodput: {ttft: 10 s, tpot: 5 s}}}
gates:
  ttft_p50: {at_most: 10 s}
  tpot_mean: {not_slower_than: baseline, by: 3%}
  goodput: {at_least: 0.01}
  output_token_throughput: {at_least: 0.1}
stages: {production: {branch: main}}
"""


def project(root: Path, contract: str) -> Candidate:
    new_repository(root)
    (root / "test.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"say {row}", "label": "1"}) for row in range(5))
    )
    (root / "gradatim.yml").write_text(contract)
    git(root, "add", ".")
    commit_file(root, ".gitignore", b".gradatim/\n")
    return Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production")


def test_a_contract_gates_the_tokens_times(pace: Pace, tmp_path: Path) -> None:
    candidate = project(tmp_path / "repo", CONTRACT.replace("URL", pace.url))
    for step in ("build", "inspect", "compress", "benchmark"):
        run_step(step, candidate)
    found = {gate.gate: gate for gate in run_step("gate", candidate).statement.gates}
    timed = {
        name: found[name].verdict for name in ("ttft_p50", "goodput", "output_token_throughput", "tpot_mean")
    }
    assert set(timed.values()) == {Verdict.PASS}, [gate.text for gate in found.values()]
    shown = candidate.workspace.report_summary.read_text()
    assert "TTFT p50" in shown, "and the report tells them"
    assert "answers of 4 tokens" in shown


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (", goodput: {ttft: 10 s, tpot: 5 s}", "", r"`goodput` counts the answers within"),
        ("{ttft: 10 s, tpot: 5 s}", "{}", "say what a good answer keeps to"),
        ("tpot_mean", "tpot_p42", "Did you mean `tpot_p"),
        ("type: generation, scorers: [exact_match]", "type: classification", "`streaming` times tokens"),
    ],
)
def test_what_cannot_be_timed_is_refused_with_the_line(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        project(tmp_path / "repo", CONTRACT.replace("URL", "http://127.0.0.1:1/v1").replace(before, after))
