"""A baseline in a store that asks for credentials: one job that holds them fetches it, the others take it over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from projects.repository import Project
from projects.small import CONTRACT, MODEL, Copy, lay_down, write_model
from publishing.servers import Servers

BUILD = """\
import shutil
shutil.copyfile("source.onnx", "model/small.onnx")
"""


def test_jobs_without_credentials_are_held_against_the_baseline_that_another_job_fetched(
    servers: Servers, tmp_path: Path
) -> None:
    place = servers.place("s3", tmp_path)
    kept = [
        line for line in CONTRACT.splitlines() if not line.startswith(("compress", "  - folder", "model"))
    ]
    built = "model: {name: small, path: model/small.onnx, build: python build.py}"
    lay_down(tmp_path / "laid", "\n".join([built, *kept, f"  - s3: {place.address}"]) + "\n")
    project = Copy(tmp_path / "laid", tmp_path / "released")
    _build_it(project)
    released = project.call("run", "--json", environment=place.credentials)
    assert released.code == 0, released.said
    write_model(project.path("source.onnx"), bias=0.3)
    project.commit("Another model")

    none = {
        **dict.fromkeys(place.credentials, ""),
        "HOME": str(tmp_path),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    alone = _job(tmp_path, "alone").call("run", "--json", "--until", "evaluate", environment=none)
    assert alone.code == 4, alone.said
    assert "AWS_ACCESS_KEY_ID" in alone.said

    holding, lacking = _job(tmp_path, "holding"), _job(tmp_path, "lacking")
    fetched = holding.call("ci", "baseline", "--json", environment=place.credentials)
    assert fetched.record == {"fetched": ["v1.0.0"]}, fetched.said
    (tmp_path / "downloads").mkdir()
    packed = holding.call("ci", "pack", "--json", "--to", str(tmp_path / "downloads/baseline.tar"))
    needs = {"baseline": {"result": "success", "outputs": {"workspace": packed.record["workspace"]}}}
    arrived = lacking.call(
        "ci", "unpack", "--from", str(tmp_path / "downloads"), environment={"NEEDS": json.dumps(needs)}
    )
    assert arrived.code == 0, arrived.said
    checked = lacking.call("run", "--json", "--until", "evaluate", environment=none)
    assert checked.code == 0, checked.said
    assert lacking.measured("accuracy", "baseline") is not None


def _build_it(project: Project) -> None:
    """Let the model come from a build, so that no commit holds it."""
    shutil.move(project.path(MODEL), project.path("source.onnx"))
    project.write("build.py", BUILD)
    project.write(".gitignore", ".gradatim/\n__pycache__/\n/model/*.onnx\n")
    project.write("model/README.md", "Built by build.py\n")
    project.commit("Build the model")


def _job(folder: Path, name: str) -> Copy:
    """A checkout of what was pushed last, as a job has it: no workspace, no model."""
    job = Copy(folder / "released", folder / name)
    shutil.rmtree(job.folder / ".gradatim")
    (job.folder / MODEL).unlink()
    return job
