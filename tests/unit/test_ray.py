"""Rows shared out on a Ray cluster: the very same result as of one process, also where a worker is lost in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gate_project import GateProject, compressed
from test_cores import found

from gradatim.errors import EnvironmentLacks
from gradatim.pipeline.step import run_step


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with started() as address:
        yield address


@contextlib.contextmanager
def started() -> Iterator[str]:
    """A cluster of two processors on this machine."""
    os.environ.update(RAY_raylet_start_wait_time_s="600", RAY_worker_register_timeout_seconds="600")
    pytest.importorskip("ray", reason="nox -s ray")  # it reads these as it is imported
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield made.address
    made.shutdown()


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    return compressed(tmp_path)


def _workers_at_a_part() -> dict[int, int]:
    """The workers of Ray that wait for a part, by the process that does it."""
    at_work = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"--shard" in (place / "cmdline").read_bytes().split(b"\0"):
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                if b"ray::" in Path(f"/proc/{parent}/cmdline").read_bytes():
                    at_work[int(place.name)] = parent
    return at_work


def _lose_one(lost: list[int], over: threading.Event) -> None:
    while not over.wait(0.01):
        for part, worker in _workers_at_a_part().items():
            for one in (worker, part):
                with contextlib.suppress(OSError):
                    os.kill(one, signal.SIGKILL)
            lost.append(worker)
            return


@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", ["evaluate", "test"])
def test_a_cluster_that_loses_a_worker_in_the_middle_leaves_the_very_same_result(
    project: GateProject, cluster: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    alone = found(project, step)
    path = project.root / "gradatim.yml"
    path.write_text(path.read_text() + "engine: ray\nshards: 4\n")
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    lost: list[int] = []
    over = threading.Event()
    watch = threading.Thread(target=_lose_one, args=(lost, over))
    watch.start()
    try:
        assert found(project, step) == alone
    finally:
        over.set()
        watch.join()
    assert len(lost) == 1, "no part was seen at work"
    ran = project.release().workspace.statement(step)
    assert ran is not None
    assert [one["shard"] for one in ran.environment["shards"]] == ["1/4", "2/4", "3/4", "4/4"]


def test_a_model_that_needs_more_than_any_node_has_is_said_and_waits_for_nothing(
    project: GateProject, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.root / "gradatim.yml"
    path.write_text(path.read_text().replace("path: ", "threads: 3, path: ") + "engine: ray\nshards: 2\n")
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    with pytest.raises(EnvironmentLacks, match="No node of the Ray cluster has 3 processors"):
        run_step("evaluate", project.release())


def test_a_node_without_the_package_of_the_model_is_said_and_its_rows_are_not_done_here_in_silence(
    project: GateProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/onnxruntime.py").write_text("raise ImportError")
    path = project.root / "gradatim.yml"
    path.write_text(path.read_text() + "engine: ray\nshards: 2\n")
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'bare'}{os.pathsep}{before}")
    with started() as address:
        monkeypatch.setenv("PYTHONPATH", before)
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(EnvironmentLacks, match=r"a node of the Ray cluster.*`onnxruntime`"):
            run_step("evaluate", project.release())


_PART = """
import sys
from pathlib import Path
from gradatim.pipeline import ray_cluster
ray_cluster._do_part(ray_cluster._packed(Path(sys.argv[1])), ["evaluate"], "nowhere")
"""


def _at_work(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_worker_that_is_killed_leaves_neither_the_process_nor_the_folder_of_its_part(
    tmp_path: Path,
) -> None:
    project, scratch = tmp_path / "project", tmp_path / "scratch"
    project.mkdir()
    scratch.mkdir()
    worker = subprocess.Popen(
        [sys.executable, "-c", _PART, str(project)], env={**os.environ, "TMPDIR": str(scratch)}
    )
    children, part = Path(f"/proc/{worker.pid}/task/{worker.pid}/children"), 0
    while not part and worker.poll() is None:
        for child in children.read_text().split():
            if b"gradatim.cli" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(part := int(child), signal.SIGSTOP)
    assert part
    time.sleep(0.1)
    worker.kill()
    worker.wait()
    late = time.monotonic() + 5
    while (_at_work(part) or any(scratch.iterdir())) and time.monotonic() < late:
        time.sleep(0.01)
    try:
        assert not _at_work(part)
        assert not any(scratch.iterdir())
    finally:
        with contextlib.suppress(OSError):
            os.kill(part, signal.SIGKILL)


def test_a_cluster_that_is_not_there_is_said_and_nothing_is_evaluated(
    project: GateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="nox -s ray")
    path = project.root / "gradatim.yml"
    path.write_text(path.read_text() + "engine: ray\nshards: 2\n")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(EnvironmentLacks, match=r"The Ray cluster at 127\.0\.0\.1:1 cannot be reached"):
        run_step("evaluate", project.release())
    assert project.release().workspace.statement("evaluate") is None
