"""The rows of a step, shared out on a Ray cluster as CI jobs share them: a task a part, its files back, then one merge.

A part rests on nothing but what is sent with it. So Ray may run it again where a worker or a node is lost, and it leaves the same.
"""

from __future__ import annotations

import io
import os
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.candidate.sharding import bytes_of, take_over
from gradatim.errors import EnvironmentLacks, missing_package
from gradatim.pipeline.walk import ourselves

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.shard import Shard

_RETRIES = 5
"""So often a part is begun anew because its worker or its node was lost."""

_AFTERWARDS = 'cat; kill -s KILL -- "-$1"; rm -rf -- "$2"'
"""Waits for the end of the worker, which holds the other end of its pipe, and clears away what that could not."""

_LEFT_BEHIND = {
    ".venv",
    "venv",
    ".nox",
    ".tox",
    "node_modules",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
}


def run_on_ray(
    candidate: Candidate,
    step: str,
    parts: Sequence[Shard],
    command: Sequence[str],
    advance: Callable[[int], None],
) -> bool:
    """Do all parts on the cluster that RAY_ADDRESS names, or on this machine; whether each came to its end.

    Every task gets the project as it lies here, the workspace and git's own folder with it, and runs ``command --shard I/N`` there.

    Raises:
        EnvironmentLacks: Ray is not installed, the cluster cannot be reached, or it lost a part too often.
    """
    ray = _connected()
    model = candidate.machine.parts.model
    needs = {"num_cpus": model.threads, "num_gpus": 0 if model.device == "cpu" else 1}
    task = ray.remote(max_retries=_RETRIES, scheduling_strategy="SPREAD", **needs)(_do_part)
    folder = candidate.workspace.shards_folder(step)
    inside = folder.resolve().relative_to(candidate.top.resolve())
    try:
        if not any(node["Alive"] and _fits(model.threads, needs["num_gpus"], node) for node in ray.nodes()):
            raise EnvironmentLacks(
                f"No node of the Ray cluster has {model.threads} processors and {needs['num_gpus']} GPUs, which a part of `{step}` "
                "takes: lower `model.threads`, see `model.device`, or add such a node."
            )
        sent = ray.put(_packed(candidate.top))
        waiting = [
            task.remote(sent, [*command, "--shard", str(part)], str(inside / part.folder)) for part in parts
        ]
        while waiting:
            done, waiting = ray.wait(waiting, timeout=1)
            for left in ray.get(done):
                if not left:
                    return False  # the step says itself what is wrong
                take_over(folder, left)
            advance(0)
    except ray.exceptions.RayTaskError as error:
        raise EnvironmentLacks(
            f"`{step}` cannot be done on a node of the Ray cluster: {str(error.cause).splitlines()[0]} Give each node the kit and the "
            "packages of this machine."
        ) from error
    except ray.exceptions.RayError as error:
        raise EnvironmentLacks(
            f"The Ray cluster did not finish `{step}`: {str(error).splitlines()[0]} Look at its nodes, and run the same command again."
        ) from error
    finally:
        ray.shutdown()
    return True


def _fits(threads: int, gpus: int, node: Mapping[str, Any]) -> bool:
    has = node["Resources"]
    return bool(has.get("CPU", 0) >= threads and has.get("GPU", 0) >= gpus)


def _connected() -> Any:
    if find_spec("ray") is None:
        raise missing_package("ray", "ray", "`engine: ray`")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    where = os.environ.get("RAY_ADDRESS", "this machine")
    host, _, port = where.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdecimal():  # Ray itself tries for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(log_to_driver=False, logging_level="error")
    except (RuntimeError, ValueError, OSError) as error:
        raise EnvironmentLacks(
            f"The Ray cluster at {where} cannot be reached: {str(error).rstrip('.')}. Set RAY_ADDRESS, or leave out `engine: ray`."
        ) from error
    return ray


def _packed(top: Path) -> bytes:
    """A project with everything that a part may read, its owners left out: git trusts no folder of somebody else."""
    archive = io.BytesIO()

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return None if _LEFT_BEHIND & set(Path(entry.name).parts) else entry

    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(top, arcname=".", filter=kept)
    return archive.getvalue()


def _do_part(project: bytes, command: Sequence[str], folder: str) -> Mapping[str, bytes]:
    """One part, on whatever node this is.

    Returns:
        The files that it leaves, named below the folder of all parts; none where this machine would say the same of it.

    Raises:
        RuntimeError: something is lacking on this node, or the system ended its process.
    """
    with tempfile.TemporaryDirectory(prefix="gradatim-ray-") as place:
        with tarfile.open(fileobj=io.BytesIO(project)) as tar:
            tar.extractall(place)  # noqa: S202 (packed above, by whoever may run tasks here)
        part = subprocess.Popen(
            ourselves(*command),
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        watch = subprocess.Popen(
            ["sh", "-c", _AFTERWARDS, "sh", str(part.pid), place],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # whoever ends the worker with all that it started leaves it
        )
        with part, watch:
            try:
                _, said = part.communicate()
            finally:
                part.kill()
                watch.kill()
        if part.returncode < 0 or part.returncode == EnvironmentLacks.exit_code:
            raise RuntimeError(
                said.strip()[-2000:].removeprefix("error: ") or f"It ended with {part.returncode}."
            )
        return {} if part.returncode else bytes_of(Path(place) / folder)
