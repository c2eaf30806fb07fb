"""Dear starts are shared between rounds: fewer of them, each round in a process and with a model of its own all the same."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from small_models import write_mlp

from gradatim.errors import InvalidInput
from gradatim.timing import crew
from gradatim.timing.contestant import Contestant, Worker, save_inputs
from gradatim.timing.crew import Crew
from gradatim.timing.paired import compare

pytest.importorskip("onnxruntime")
BATCH = {"x": np.zeros((8, 64), np.float32)}

DYING = """
import os
from pathlib import Path

def model():
    count = Path("rounds")
    count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
    def call(inputs):
        if count.read_text() == "3":
            os.kill(os.getpid(), {signal})
        return {{"y": inputs["x"]}}
    return call
"""


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Every start dear; whether each process that is started stays."""
    started: list[bool] = []

    class Counted(Worker):
        def __init__(self, *given: object, stays: bool = False) -> None:
            started.append(stays)
            super().__init__(*given, stays=stays)  # type: ignore[arg-type]

    monkeypatch.setattr(crew, "DEAR", 0.0)
    monkeypatch.setattr(crew, "Worker", Counted)
    return started


def test_a_dear_start_is_made_once_between_looks_and_memory_counts_as_ever(
    tmp_path: Path, starts: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    contestant = Contestant("net", write_mlp(tmp_path / "net.onnx", 256), tmp_path)
    shared = compare([contestant], BATCH, rounds=6).contestants[0]
    assert starts == [False, True]
    assert shared.rounds == 6
    monkeypatch.setattr(crew, "DEAR", 1e9)
    alone = compare([contestant], BATCH, rounds=3).contestants[0]
    assert shared.memory == pytest.approx(alone.memory, rel=0.1)


def test_every_round_is_a_process_of_its_own_and_none_is_left(tmp_path: Path, starts: list[bool]) -> None:
    contestant = Contestant("net", write_mlp(tmp_path / "net.onnx", 64), tmp_path)
    batch = save_inputs(tmp_path / "batch.npz", BATCH)
    pids = []
    with Crew(batch, tmp_path, 60) as made:
        for _ in range(4):
            with made.worker(contestant) as worker:
                pids.append(worker.opened().pid)
                assert worker.ask("block", untimed=0, timed=2)["seconds"]
                worker.stop()
            host = worker.pid
    assert len(set(pids)) == 4
    assert starts == [False, True]
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in (*pids, host)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody has asked after does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize(("signal", "told"), [(9, "SIGKILL"), (11, "SIGSEGV")])
def test_a_model_that_dies_in_a_fork_is_told_as_ever(
    tmp_path: Path, starts: list[bool], signal: int, told: str
) -> None:
    (tmp_path / "dying.py").write_text(DYING.format(signal=signal))
    dying = Contestant("dying", Path("dying:model"), tmp_path, format="python", factory="dying:model")
    with pytest.raises(InvalidInput, match=told):
        compare([dying], BATCH, rounds=6)
    assert starts == [False, True]
