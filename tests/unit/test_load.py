"""Load by LoadGen's patterns: what a server bears is found, what broke it is told, and who answers is the model."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from gate_project import CONTRACT, named, write_model
from registry_examples import commit_file, new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, EnvironmentLacks, InvalidInput, UsageError
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.pipeline.step import run_step
from gradatim.report.collect import collect
from gradatim.report.html import render_html
from gradatim.report.markdown import render_markdown
from gradatim.steps import gate
from gradatim.timing.contestant import Contestant, save_inputs
from gradatim.timing.load import LoadQuestion, OutOfTime, bears, highest_rate, load_of, ramp
from gradatim.timing.loadgen import OFFLINE, SERVER, SINGLE, LoadPlan, LoadRun, drive
from gradatim.timing.locust import LocustPlan, LocustRun, run_locust
from gradatim.timing.queries import LoadQuery, queries_of
from gradatim.timing.result import PairedResult

SERVICE, BOUND = 2e-3, 40e-3
TRUTH = {"constant": 442.8, "exponential": 1 / SERVICE - math.log(100) / BOUND}
"""Queries a second of which 99 % stay within the bound: by Erlang's formula of M/D/1, as tests/bench/server_rate.py has it, and of M/M/1."""


def simulated(kind: str, seed: int, breaks: float = math.inf) -> Callable[[LoadPlan], LoadRun]:
    """LoadGen before a queue whose service times are known, in a time of its own; beyond a rate it answers ten times as slowly."""
    dice = np.random.default_rng(seed)

    def run(plan: LoadPlan) -> LoadRun:
        rate = plan.rate or 1 / SERVICE
        count = max(plan.queries, 662, int(rate * plan.seconds))
        came = np.cumsum(dice.exponential(1 / rate, count))
        takes = np.full(count, SERVICE) if kind == "constant" else dice.exponential(SERVICE, count)
        takes = takes * (10 if rate > breaks else 1)
        worked = np.cumsum(takes)
        left = worked + np.maximum.accumulate(came - (worked - takes))
        latency = left - came
        late = int((latency > plan.bound).sum())
        proven = late <= 0.01 * count - 2.326 * math.sqrt(0.0099 * count)
        p50, p90, p99 = np.quantile(latency, (0.5, 0.9, 0.99))
        within, rates = bool(p99 <= plan.bound), (count / came[-1], count / left[-1])
        return LoadRun(
            plan.scenario, rate, proven, within, "", "", count, 0, *rates, 0, p50, p90, p99, None, left[-1]
        )

    return run


def question(*scenarios: str, seconds: float = 5, budget: float = 60, **asked: object) -> LoadQuestion:
    return LoadQuestion(scenarios, BOUND, seconds, budget, 1, LoadQuery(1, **asked))


@pytest.mark.parametrize("kind", TRUTH)
@pytest.mark.parametrize("first", [50, 250, 1000])
def test_the_rate_that_a_server_bears_is_found_from_anywhere(kind: str, first: float) -> None:
    for seed in range(5):
        run = simulated(kind, seed)
        bore, too_much = highest_rate(run, LoadPlan(SERVER, first, BOUND, seconds=20))
        assert bore is not None
        assert too_much is not None
        assert bore == pytest.approx(TRUTH[kind], rel=0.05)
        assert bore < too_much <= 1.04 * bore


def test_one_stall_of_the_machine_takes_no_part_of_a_rate_away() -> None:
    calm, long = simulated("constant", 1), []

    def run(plan: LoadPlan) -> LoadRun:
        found = calm(plan)
        long.extend([plan] if plan.seconds > 20 and found.valid else [])
        return replace(found, valid=False, within=False) if found.valid and long == [plan] else found

    bore, _ = highest_rate(run, LoadPlan(SERVER, 250, BOUND, seconds=20))
    assert bore == pytest.approx(TRUTH["constant"], rel=0.05)


def test_no_two_runs_have_the_same_arrivals_so_that_a_lucky_draw_is_not_repeated() -> None:
    plans: list[LoadPlan] = []
    calm = simulated("constant", 1)

    def run(plan: LoadPlan) -> LoadRun:
        plans.append(plan)
        return calm(plan)

    load_of("small", "in its process", run, question("server"))
    assert len({plan.seed for plan in plans}) == len(plans) > 5


def test_stress_tells_where_a_server_breaks_and_that_it_recovers() -> None:
    found = load_of("small", "in its process", simulated("constant", 1, breaks=300), question("stress"))
    assert found.stress is not None
    assert found.stress.breaks_at is not None
    assert 300 < found.stress.breaks_at < 300 * 1.25
    assert found.stress.bore is not None
    assert found.stress.bore < 300
    assert found.stress.recovered is not None


def test_a_rate_that_was_not_found_is_none_and_says_why() -> None:
    calm = simulated("constant", 1)
    none = load_of("small", "in its process", calm, question("server", budget=1))
    assert none.bore is None
    assert "benchmark.load.budget" in (none.reason or "")
    slow = LoadQuestion(("server",), SERVICE / 2, 5, 60, 1, LoadQuery(1))
    late = load_of("small", "in its process", calm, slow)
    assert late.bore is None
    assert "the lowest rate that was tried" in (late.reason or "")


def test_a_rate_that_a_long_run_bore_is_told_though_the_time_is_over_before_the_next() -> None:
    """The short run at 100 is disturbed, so that a long one is done there; at 200 it is too much, and then the time is over."""
    calm, done = simulated("constant", 1), list[LoadPlan]()

    def run(plan: LoadPlan) -> LoadRun:
        done.append(plan)
        if len(done) > 4:
            raise OutOfTime
        found = calm(plan)
        disturbed = plan.rate == 100 and plan.seconds == 20
        slow = plan.rate == 200
        return replace(
            found, valid=found.valid and not (disturbed or slow), completed=found.completed / (1 + slow)
        )

    assert highest_rate(run, LoadPlan(SERVER, 50, BOUND, seconds=20)) == (100, 200)


def test_a_rate_between_what_was_borne_and_what_was_too_much_says_that_the_time_was_short() -> None:
    calm = simulated("constant", 1)

    def run(plan: LoadPlan) -> LoadRun:
        if plan.seconds > 5 and plan.rate < 480:  # between 245, which was borne, and 490, which was too much
            raise OutOfTime
        return calm(plan)

    found = load_of("small", "in its process", run, question("server", seconds=5))
    assert (found.bore, bool(found.too_much)) == (None, True)
    assert "the lowest rate that was tried" not in (found.reason or "")
    assert re.search(
        r"/s was borne by a short run.*`benchmark\.load\.budget` were over before a long one",
        found.reason or "",
    )


def test_loadgen_itself_asks_and_says_whether_a_run_is_valid(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")

    def answers() -> None:
        time.sleep(1e-4)

    single = drive([answers], LoadPlan(SINGLE, seconds=0.1), tmp_path / "single")
    assert single.valid
    assert single.estimate is not None
    assert single.p50 <= single.estimate
    faster = drive([answers], LoadPlan(SINGLE, 0.4 / single.p50, seconds=0.1), tmp_path / "faster")
    assert faster.valid, "a model that is faster than it seemed at first has no fewer queries"
    offline = drive([answers], LoadPlan(OFFLINE, 500, seconds=0.1, parallel=2), tmp_path / "offline")
    assert offline.queries >= 50
    assert offline.completed > 0
    served = drive([answers], LoadPlan(SERVER, 1000, 5.0, seconds=0.1), tmp_path / "served")
    assert served.valid
    assert served.queries >= 662
    assert "Result is : VALID" in (tmp_path / "served/mlperf_log_summary.txt").read_text()


def test_a_run_that_falls_behind_ends_early_and_a_query_that_fails_makes_it_invalid(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    began = time.monotonic()
    behind = drive([lambda: time.sleep(0.01)], LoadPlan(SERVER, 2000, 0.01, seconds=10), tmp_path)
    assert time.monotonic() - began < 8
    assert not behind.valid
    assert not behind.keeps_up

    def fails() -> None:
        raise InvalidInput("no answer")

    failed = drive([fails], LoadPlan(SINGLE, 1000, seconds=0.05), tmp_path)
    assert not failed.valid
    assert failed.why.endswith("queries failed: no answer")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = new_repository(tmp_path / "project")
    write_model(root / "model.onnx", "old")
    x = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    np.savez(root / "test.npz", x=x, label=x[:, :3].argmax(1))
    return root


def loaded(
    root: Path, load: str, gates: str = "  size: {at_most: 1 GB}"
) -> tuple[Candidate, Sequence[Measurement]]:
    text = CONTRACT % {"data": "inputs: {x: x}", "test": "", "gates": gates}
    (root / "gradatim.yml").write_text(f"{text}\nbenchmark: {{rounds: 3, load: {load}}}\n")
    commit_file(root, ".gitignore", b".gradatim/\n")
    candidate = Candidate(read_contract(root / "gradatim.yml"), Laptop(), "alpha")
    return candidate, run_step("benchmark", candidate).statement.measurements


def test_a_contract_asks_for_load_and_every_report_shows_it(project: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    candidate, measured = loaded(
        project,
        "{scenarios: [single-stream, server], p99: 1 s, seconds: 0.05, budget: 2}",
        "  server_rate: {at_least: 0.001}",
    )
    [rate] = [one for one in measured if one.name == "server_rate"]
    kept = candidate.workspace.timings()
    assert kept is not None
    assert PairedResult.from_json(json.loads(json.dumps(kept.to_json())), "it") == kept
    [load] = kept.loads
    assert rate.value == (load.bore if load.too_much else None)
    assert rate.reason == load.reason
    logs = candidate.workspace.folder / "loadgen" / load.name
    assert len(list(logs.glob("*/mlperf_log_summary.txt"))) == len(load.runs) + 1
    verdict = Verdict.FAIL if rate.value is None else Verdict.PASS
    assert named(gate.run(candidate), "server_rate").verdict is verdict
    report = collect(candidate)
    for shown in (render_markdown(report), render_html(report)):
        assert "SingleStream" in shown
        assert "in its process" in shown


def test_without_loadgen_the_first_word_is_how_to_install_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(EnvironmentLacks, match=r"pip install .*\[load\]"):
        loaded(project, "{p99: 1 s}")
    assert not (project / ".gradatim/benchmark.json").exists()


class _Serves(BaseHTTPRequestHandler):
    """The Open Inference Protocol, as far as one model needs it."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: else each answer waits 40 ms for an acknowledgement

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        [given] = asked["inputs"]
        x = np.reshape(given["data"], given["shape"])
        scores = x[:, :3]
        told = {
            "name": "scores",
            "shape": list(scores.shape),
            "datatype": "FP32",
            "data": scores.ravel().tolist(),
        }
        body = json.dumps({"model_name": "small", "outputs": [told]}).encode()
        self.send_response(200 if self.path == "/v2/models/small/infer" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Serves) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/v2/models/small"
        http.shutdown()
        thread.join()


def test_a_server_that_answers_for_the_model_is_asked_over_http(
    server: str, project: Path, tmp_path: Path
) -> None:
    pytest.importorskip("mlperf_loadgen")
    inputs = save_inputs(tmp_path / "rows.npz", {"x": np.eye(6, dtype=np.float32)})
    contestant = Contestant("original", project / "model.onnx", project)
    found = bears(contestant, inputs, question("single-stream", seconds=0.1, url=server), tmp_path / "logs")
    assert found.where == server
    assert found.runs[0].valid
    assert found.runs[0].failed == 0


def test_a_server_that_says_something_else_than_the_model_is_not_asked(server: str) -> None:
    x = {"x": np.eye(6, dtype=np.float32)}

    def other(_: object) -> dict[str, np.ndarray]:
        return {"scores": 1.1 * x["x"][:1, :3]}

    for url, error, told in (
        (server, InvalidInput, "answers otherwise than the model"),
        (server.replace("small", "other"), InvalidInput, "HTTP 404"),
        ("http://127.0.0.1:9/v2/models/small", EnvironmentLacks, "refuses the connection"),
    ):
        with pytest.raises(error, match=told):
            queries_of(other, x, LoadQuery(1, url))  # type: ignore[arg-type]  # no more of it is used


def test_what_a_benchmark_found_is_read_without_what_measures_it() -> None:
    """A gate reads it in each release, and holds no model and no server."""
    dear = {"http.client", "gradatim.models.served", "gradatim.timing.contestant"}
    code = f"import sys, gradatim.timing.result; print(*sorted({dear} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_rows_of_the_data_are_the_queries() -> None:
    seen = []

    def predictor(inputs: dict[str, np.ndarray]) -> None:
        seen.append(inputs["x"].tolist())

    for ask in queries_of(predictor, {"x": np.arange(5)}, LoadQuery(2)):  # type: ignore[arg-type]  # no more of it is used
        ask()
    assert seen == [[0, 1], [2, 3]]


def crowded(holds: int, *, ill: int = 0, most: int = 200) -> Callable[[int], LocustRun]:
    """Locust before a server that bears so many users, and is ill for so many runs after each that broke it."""
    left, done = [0], []

    def run(users: int) -> LocustRun:
        if len(done) == most:
            raise OutOfTime
        done.append(users)
        broke = users > holds or left[0] > 0
        left[0] = ill if users > holds else max(0, left[0] - 1)
        return LocustRun(users, 100, 0, 1.0, 0, 0, 0, "too slow" if broke else "", strained=False)

    return run


@pytest.mark.parametrize("holds", [1, 2, 3, 7, 36, 100, 1000])
@pytest.mark.parametrize("ill", [0, 3])
def test_ever_more_users_break_a_server_where_it_breaks_and_it_is_well_again_before_fewer_come(
    holds: int, ill: int
) -> None:
    found = ramp(crowded(holds, ill=ill))
    assert found.bore is not None
    assert found.breaks_at is not None
    assert found.bore <= holds < found.breaks_at <= max(1.25 * found.bore, found.bore + 1)
    assert found.recovered is not None


def test_a_server_that_no_number_of_users_breaks_and_one_that_stays_broken_are_told_so() -> None:
    unbroken = ramp(crowded(10**9, most=9))
    assert (unbroken.breaks_at, unbroken.bore, unbroken.recovered) == (None, 256, None)
    broken = ramp(crowded(10, ill=10**9))
    assert (broken.breaks_at, broken.bore, broken.recovered) == (16, 8, None)
    assert ramp(crowded(0)).breaks_at == 1


has_locust = pytest.mark.skipif(find_spec("locust") is None, reason="locust is not installed")
"""Never imported here: it patches every socket and thread of the process."""


CALLER = """
from locust import FastHttpUser, constant, task

class Caller(FastHttpUser):
    wait_time = constant(0.01)

    @task
    def ask(self):
        print("a user may print what it likes")
        x = {"name": "x", "shape": [1, 6], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]}
        self.client.post("/v2/models/small/infer", json={"inputs": [x]})
"""


@has_locust
def test_locust_itself_counts_what_the_users_of_a_locustfile_ask(server: str, tmp_path: Path) -> None:
    (tmp_path / "users.py").write_text(CALLER)
    (tmp_path / "log").mkdir()
    plan = LocustPlan(tmp_path / "users.py", tmp_path, server.partition("/v2")[0], 5.0, 1)
    found = run_locust(plan, 2, tmp_path / "log")
    assert found.why == ""
    assert found.requests > 0
    assert found.failed == 0
    assert 0 <= found.p50 <= found.p90 <= found.p99 <= 5


@has_locust
@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("import nothing_like_this", "nothing_like_this"),
        (CALLER.replace("/small/", "/other/"), "no right answer to [1-9]"),
        (CALLER.replace("self.client.post", "self.client.nothing"), "nothing"),
        (CALLER.replace("@task", "").replace("def ask", "def never"), "users.py"),
        (f"{CALLER}\nfrom locust import LoadTestShape\nclass Mine(LoadTestShape):\n    def tick(self): return None", "LoadTestShape"),
    ],
)  # fmt: skip
def test_a_locustfile_whose_users_get_no_answer_is_refused_with_the_reason(
    server: str, tmp_path: Path, written: str, told: str
) -> None:
    (tmp_path / "users.py").write_text(written)
    (tmp_path / "log").mkdir()
    plan = LocustPlan(tmp_path / "users.py", tmp_path, server.partition("/v2")[0], 5.0, 2)
    with pytest.raises(InvalidInput, match=told):
        run_locust(plan, 1, tmp_path / "log")


def test_without_locust_or_its_file_the_line_of_the_contract_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = "{scenarios: [stress], p99: 1 s, locustfile: users.py}"
    with pytest.raises(UsageError, match=r"gradatim.yml:\d+.*There is no users.py"):
        loaded(project, load)
    (project / "users.py").write_text(CALLER)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EnvironmentLacks, match=r"gradatim.yml:\d+.*pip install .*\[locust\]"):
        loaded(project, load)


@has_locust
@pytest.mark.slow
def test_a_contract_asks_for_stress_by_its_locustfile_and_every_report_shows_where_it_breaks(
    server: str, project: Path
) -> None:
    (project / "users.py").write_text(CALLER)
    candidate, _ = loaded(
        project,
        f"{{scenarios: stress, p99: 1 s, seconds: 1, budget: 1 min, locustfile: users.py, url: '{server}'}}",
    )
    kept = candidate.workspace.timings()
    assert kept is not None
    assert PairedResult.from_json(json.loads(json.dumps(kept.to_json())), "it") == kept
    [load] = kept.loads
    assert load.stress is not None
    assert load.users[0].users == 1
    logs = candidate.workspace.folder / "loadgen" / load.name
    assert len(list(logs.glob("*/requests.json"))) == len(load.users)
    report = collect(candidate)
    for shown in (render_markdown(report), render_html(report)):
        assert "1 user" in shown
        assert "locust" in shown


@pytest.mark.parametrize(
    ("load", "gates", "told"),
    [
        ("{scenarios: server}", "  size: {at_most: 1 GB}", "p99: 50 ms"),
        ("{p99: 1 s, url: 'http://a:b@c/v2/models/x'}", "  size: {at_most: 1 GB}", "/v2/models/NAME"),
        ("{p99: 1 s, locustfile: users.py}", "  size: {at_most: 1 GB}", r"scenarios: \[stress\]"),
        ("{p99: 1 s}", "  server_rate: {not_slower_than: baseline, by: 3%}", "at_least: 100"),
        ("{scenarios: offline}", "  server_rate: {at_least: 5}", "`server` among its scenarios"),
    ],
)
def test_a_contract_that_asks_for_no_such_load_is_told_what_to_say(
    project: Path, load: str, gates: str, told: str
) -> None:
    with pytest.raises(ContractError, match=told):
        loaded(project, load, gates)
