"""The paired benchmark on real models in real processes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_pynvml import fake_pynvml
from small_models import write_mlp

from gradatim.errors import InvalidInput, UsageError
from gradatim.timing.contestant import Contestant, Worker, save_inputs
from gradatim.timing.decision import Decision
from gradatim.timing.machine import this_machine
from gradatim.timing.nvml import Nvml
from gradatim.timing.paired import Question, _Answer, compare
from gradatim.timing.result import FIRST_RESULT, PairedResult
from gradatim.timing.rounds import Log

pytest.importorskip("onnxruntime")

SLEEPER = """
import time
import numpy as np

SECONDS = {seconds}

def model():
    print("a model that talks on stdout must not break the protocol")
    def call(inputs):
        time.sleep(SECONDS)
        {extra}
        return {{"y": inputs["x"] * 2}}
    return call
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ein Ordner mit ünïcode")
    write_mlp(folder / "small.onnx", 256)
    write_mlp(folder / "large.onnx", 512)
    return folder


@pytest.fixture
def batch():
    return {"x": np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)}


def python_model(folder: Path, name: str, seconds: float = 0.001, extra: str = "pass") -> Contestant:
    (folder / f"{name}.py").write_text(SLEEPER.format(seconds=seconds, extra=extra))
    path = Path(f"{name}:model")
    return Contestant(name, path, folder, format="python", factory=f"{name}:model")


def test_a_much_slower_candidate_is_refused_and_a_faster_one_recognised(project, batch):
    told, before = [], spent()
    result = compare(
        [
            Contestant("baseline", project / "small.onnx", project),
            Contestant("slow", project / "large.onnx", project),
        ],
        batch,
        questions=[Question("slow", "baseline"), Question("baseline", "slow")],
        rounds=6,
        progress=lambda done, most, text: told.append((done, most, text)),
    )
    assert spent() - before < 30
    slow, fast = result.comparisons
    assert slow.decision is Decision.SLOWER
    assert slow.ratio > 1.5
    assert slow.low < slow.ratio < slow.high
    assert fast.decision is Decision.FASTER
    assert [done for done, _, _ in told] == [1, 2, 3, 4, 5, 6]
    timing = result.contestant("slow")
    assert timing.rounds == 6
    assert timing.items == 8
    levels = [timing.level(f"latency_{name}") for name in ("floor", "p50", "p90", "p95", "p99")]
    assert levels[0].value > 0
    assert [level.value for level in levels] == sorted(level.value for level in levels)
    for level in (*levels[:2], timing.level("latency_mean"), timing.level("throughput")):
        assert level.low <= level.value <= level.high
    assert timing.memory > 1_000_000
    assert len(timing.samples) <= 2000
    names = {(m.name, m.variant): m for m in result.measurements()}
    assert names["latency_ratio", "slow"].value == slow.ratio
    assert names["latency_p50", "slow"].unit == "s"
    kept = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert PairedResult.from_json(kept, "benchmark.json") == result


def test_a_question_is_asked_until_it_is_decided_and_no_longer(project, batch):
    contestants = [
        Contestant(name, project / model, project)
        for name, model in (("baseline", "small.onnx"), ("slow", "large.onnx"), ("same", "small.onnx"))
    ]
    asked = [Question("slow", "baseline"), Question("same", "baseline", margin=1e-9, alarm=0.0)]
    slow, same = compare(contestants, batch, questions=asked, rounds=7).comparisons
    for found in (slow, same):
        (answer,) = found.answers
        *before, last = [look.decision for look in answer.looks]
        assert set(before) <= {Decision.UNDECIDED}
        assert last is not Decision.UNDECIDED or answer.looks[-1].rounds == 7
    assert len(slow.answers[0].looks) == 1


def spent() -> float:
    """Processor seconds of the processes that ended: what was done, however busy the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Told(Log):
    """What one did in its rounds, as given."""

    def __init__(self, seconds: list[float]) -> None:
        self.by_round = lambda metric: seconds


def test_a_question_that_no_round_to_come_would_answer_is_given_up_with_advice():
    logs = {"baseline": Told([1.0] * 10), "candidate": Told([1.6, 1 / 1.6] * 5)}
    answer = _Answer()
    answer.add(Question("candidate", "baseline"), logs, 36, look_now=True)
    assert not answer.open
    assert answer.looks[-1].decision is Decision.UNDECIDED
    assert "varies by" in answer.given_up
    assert "gradatim selftest benchmark" in answer.given_up


def test_the_time_to_the_first_result_is_that_of_opening_and_first_call_and_is_paired(tmp_path, batch):
    once = "globals().update(SECONDS=0.001)"
    quick, late = (
        python_model(tmp_path, name, took, once) for name, took in (("quick", 0.001), ("late", 0.5))
    )
    asked = Question("late", "quick", 0.1, metric=FIRST_RESULT)
    found = compare([quick, late], batch, questions=[asked], rounds=3)
    told = {one.name: one for one in found.measurements() if one.variant == "late"}
    assert told[FIRST_RESULT].value > 0.5 > told["latency_p50"].value
    [pair] = found.comparisons
    assert pair.answers[0].metric == FIRST_RESULT
    assert sum(pair.differences[FIRST_RESULT]) > 0


def test_a_single_contestant_is_described_without_a_comparison(project, batch):
    result = compare([Contestant("fp32", project / "small.onnx", project)], batch, rounds=2)
    assert result.comparisons == ()
    assert result.contestants[0].rounds == 2
    assert result.contestants[0].level("throughput").value > 0


def test_a_python_model_may_print_and_is_timed(tmp_path, batch):
    result = compare([python_model(tmp_path, "talker", 0.002)], batch, rounds=2)
    assert 0.002 <= result.contestants[0].level("latency_p50").value < 0.02


def test_a_model_that_cannot_be_opened_is_one_paragraph_that_names_it(project, tmp_path, batch):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes((project / "small.onnx").read_bytes()[:1000])
    with pytest.raises(InvalidInput, match="`candidate`") as caught:
        compare(
            [
                Contestant("baseline", project / "small.onnx", project),
                Contestant("candidate", broken, tmp_path),
            ],
            batch,
            rounds=2,
        )
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_wrong_input_is_named(project):
    with pytest.raises(InvalidInput, match="x"):
        compare(
            [Contestant("fp32", project / "small.onnx", project)],
            {"z": np.zeros((1, 64), np.float32)},
            rounds=2,
        )


def test_a_model_whose_process_dies_is_invalid_and_no_hang(tmp_path, batch):
    killed = python_model(tmp_path, "killed", extra="__import__('os').kill(__import__('os').getpid(), 9)")
    with pytest.raises(InvalidInput, match="SIGKILL"):
        compare([killed], batch, rounds=2)


def test_a_model_that_never_answers_is_ended(tmp_path, batch):
    with pytest.raises(InvalidInput, match="no answer for 3 s"):
        compare([python_model(tmp_path, "stuck", 3600)], batch, rounds=2, timeout=3)


def test_a_model_that_raises_is_told_in_a_sentence(tmp_path, batch):
    with pytest.raises(InvalidInput, match="out of cheese"):
        compare(
            [python_model(tmp_path, "raiser", extra="raise ValueError('out of cheese')")], batch, rounds=2
        )


def test_a_worker_ends_with_its_parent_even_in_the_middle_of_a_call(tmp_path):
    python_model(tmp_path, "sleeper", 3600)
    save_inputs(tmp_path / "inputs.npz", {"x": np.zeros(1, np.float32)})
    code = f"""
import time
from pathlib import Path
from gradatim.timing.contestant import Contestant, Worker
folder = Path({str(tmp_path)!r})
worker = Worker(Contestant("s", Path("sleeper:model"), folder, format="python", factory="sleeper:model"),
                folder / "inputs.npz", folder)
worker.opened()
worker._tell({{"do": "warm", "seconds": 1}})
print(worker.pid, flush=True)
time.sleep(3600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        worker = int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _alive(worker):
        time.sleep(0.05)
    assert not _alive(worker)


def test_leaving_a_worker_ends_its_process(project, batch, tmp_path):
    inputs = save_inputs(tmp_path / "inputs.npz", batch)
    with Worker(Contestant("fp32", project / "small.onnx", project), inputs, tmp_path) as worker:
        worker.opened()
        assert _alive(worker.pid)
    assert not _alive(worker.pid)


@pytest.mark.parametrize(
    ("names", "questions"),
    [([], None), (["a", "a"], None), (["a", "b"], [Question("b", "z")]), (["a"], [Question("a", "a")])],
)
def test_questions_that_make_no_sense_are_refused(names, questions, project, batch):
    with pytest.raises(UsageError):
        compare([Contestant(n, project / "small.onnx", project) for n in names], batch, questions=questions)


def test_a_batch_of_objects_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="words"):
        save_inputs(tmp_path / "x.npz", {"words": np.array([{}, 1], dtype=object)})
    with pytest.raises(InvalidInput, match="empty"):
        save_inputs(tmp_path / "x.npz", {})


def test_without_nvml_every_gpu_fact_is_null_with_its_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(errors={"nvmlInit": "LibraryNotFound"}))
    facts = Nvml("cuda:0").facts()
    assert facts.energy is None
    assert facts.throttles is None
    assert set(facts.reasons.values()) == {"no_library"}
    assert set(facts.reasons) == {name for name in facts.to_json() if name != "reasons"}


def test_the_machine_is_described():
    machine = this_machine()
    assert machine.cores == len(os.sched_getaffinity(0))
    assert machine.cpu
    assert len(machine.kind) == 64


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
