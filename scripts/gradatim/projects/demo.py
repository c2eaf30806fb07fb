"""The demo projects: handwritten digits, or a chat model, in a git repository of their own, with a bare remote beside it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.files import cannot_write, template_folder, write_bytes, write_text
from gradatim.registry.git import Repository

DEFAULT_FOLDER = "gradatim-demo"
BRANCH = "main"
REQUESTS, PENCIL_REQUESTS = "requests.jsonl", "requests-with-pencil.jsonl"
"""Traffic as it was recorded: in full ink; and since some people write with a pencil."""

_REQUESTS, _PENCIL = 480, 0.4  # requests of a day; ink of a pencil, of full ink
_IDENTITY = ("Gradatim Demo", "demo@gradatim.invalid")
_MADE = (
    ".gradatim",
    ".pytest_cache",
    "model",
    "releases",
)  # once somebody worked in the template itself


@dataclass(frozen=True)
class Offer:
    """A model that somebody proposes for release.

    Attributes:
        name: how `commit_candidate` finds it.
        title: what it is, in a line; the subject of its commit.
    """

    name: str
    title: str


FIRST = Offer("first", "Read digits with a wide net")
BETTER = Offer("better", "Read digits better and faster: a leaner net, trained on distorted images")
CLEANED = Offer("cleaned", "Leaner still: faint specks are cleaned away before it looks")
"""It proves every gate on the test images, and only traffic shows that it takes a pencil for specks."""
BAD = (
    Offer("mislabelled", "Better in total, but trained on eights that were labelled as ones"),
    Offer("slow", "As good as any, but it looks at twice the resolution"),
    Offer("pickle", "The better net as a pickle, so that no export is needed"),
)
"""Candidates that must be refused: one worse on one digit, one slower, one that brings a pickle."""


@dataclass(frozen=True)
class Story:
    """What a demo tells.

    Attributes:
        project: its folder among the templates, and where it is laid down; `PROJECT-candidates` holds what the offers change.
        first: what is released first.
        offers: who may come after that.
    """

    project: str
    first: Offer
    offers: tuple[Offer, ...]


DIGITS = Story("digits", FIRST, (BETTER, *BAD, CLEANED))
CHAT = Story(
    "smollm2",
    Offer("first", "Answer questions with SmolLM2-135M-Instruct in four bits"),
    (
        Offer("template", "The same weights with the chat template of another family"),
        Offer("two-bits", "Over-quantised: two bits a weight are left of four"),
        Offer("smaller", "A good one, 9 MB smaller: the embedding in five bits"),
    ),
)
"""A chat model: two candidates that must be refused, and one that may go out."""
_STORIES = {story.project: story for story in (DIGITS, CHAT)}


@dataclass(frozen=True)
class DemoPaths:
    """Where the demo lies, all absolute.

    Attributes:
        folder: what holds the two below.
        project: the working tree, with ``gradatim.yml`` at its top.
        remote: the bare repository that is its ``origin``.
    """

    folder: Path
    project: Path
    remote: Path

    @property
    def story(self) -> Story:
        return _STORIES[self.project.name]

    @property
    def contract(self) -> Path:
        return self.project / "gradatim.yml"


def lay_down(folder: Path, story: Story = DIGITS) -> DemoPaths:
    """Make the story's project in ``folder``, a repository with the first release's commit, and ``folder/remote.git``.

    The branch ``main`` is pushed and nothing is tagged yet. The user's own git identity, hooks and signing
    key are left alone: the repository brings its own settings.

    Raises:
        UsageError: the folder exists and is not empty, or git was pointed at another repository.
        EnvironmentLacks: git is missing or fails, or the folder cannot be written.
    """
    folder = folder.resolve()
    _refuse_unless_free(folder)
    paths = DemoPaths(folder, folder / story.project, folder / "remote.git")
    existed = folder.exists()
    try:
        paths.project.mkdir(parents=True)
        _copy(template_folder("projects") / story.project, paths.project)
        repository = _repository(paths)
        start = ("init", "--quiet", "--template=", f"--initial-branch={BRANCH}")
        repository.run(*start)
        repository.run(*start, "--bare", str(paths.remote))
        settings = {
            "user.name": _IDENTITY[0],
            "user.email": _IDENTITY[1],
            "commit.gpgSign": "false",
            "tag.gpgSign": "false",
            "core.autocrlf": "false",
        }
        for key, value in settings.items():
            repository.run("config", key, value)
        repository.run("remote", "add", "origin", str(paths.remote))
        _commit(repository, story.first.title)
        repository.run("push", "--quiet", "--no-verify", "--set-upstream", "origin", BRANCH)
    except BaseException as error:
        for made in (paths.project, paths.remote) if existed else (folder,):
            shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError):
            raise cannot_write(folder, error) from error
        raise
    return paths


def commit_candidate(paths: DemoPaths, name: str) -> str:
    """Commit a candidate on the branch that is checked out: the project as it was first laid down, with this model in it.

    Nothing is pushed: that comes with the release, or with ``push``.

    Args:
        paths: what ``lay_down`` gave.
        name: of an offer of the project's story.

    Returns:
        The commit's id.

    Raises:
        UsageError: there is no candidate of this name.
        EnvironmentLacks: git fails, or the project cannot be written.
    """
    story = paths.story
    candidates = {candidate.name: candidate for candidate in (story.first, *story.offers)}
    if name not in candidates:
        raise UsageError(f"The demo has no candidate `{name}`. It has: {', '.join(candidates)}.")
    try:
        _copy(template_folder("projects") / story.project, paths.project)
        pickled = paths.project / "weights" / "digits.pkl"
        pickled.unlink(missing_ok=True)
        overlay = "better" if name == "pickle" else name
        if name != story.first.name:
            _copy(template_folder("projects") / f"{story.project}-candidates" / overlay, paths.project)
        if name == "pickle":
            _bring_a_pickle(paths, pickled)
    except OSError as error:
        raise cannot_write(paths.project, error) from error
    repository = _repository(paths)
    _commit(repository, candidates[name].title)
    return repository.head()


def record_traffic(paths: DemoPaths) -> None:
    """Write what two days of users sent, beside the project: an image a line, none of them a test image.

    Raises:
        EnvironmentLacks: the folder cannot be written.
    """
    dice = np.random.default_rng(1998)
    with np.load(paths.project / "data" / "train.npz", allow_pickle=False) as data:
        images = data["image"][dice.integers(0, len(data["image"]), (2, _REQUESTS))]
    images = np.clip(images + dice.normal(0, 0.05, images.shape), 0, 1)
    images[1, ::2] *= _PENCIL
    try:
        for name, sent in zip((REQUESTS, PENCIL_REQUESTS), images, strict=True):
            lines = (json.dumps({"image": image.round(3).tolist()}) for image in sent)
            write_text(paths.folder / name, "\n".join(lines) + "\n")
    except OSError as error:
        raise cannot_write(paths.folder, error) from error


def report_of(paths: DemoPaths, name: str) -> Path:
    """Where the report of a candidate is kept, since the next one writes its own."""
    return paths.folder / f"report-{name}.html"


def keep_report(paths: DemoPaths, name: str) -> None:
    """Keep the report that a candidate got.

    Raises:
        EnvironmentLacks: the folder cannot be written.
    """
    made = paths.project / ".gradatim" / "report.html"
    try:
        if made.exists():
            write_bytes(report_of(paths, name), made.read_bytes())
    except OSError as error:
        raise cannot_write(paths.folder, error) from error


def enter(paths: DemoPaths, branch: str, *, merging: str | None = None) -> None:
    """Go to a branch, made where there is none, as a merge of ``merging`` leaves it.

    Raises:
        EnvironmentLacks: git fails.
    """
    repository = _repository(paths)
    there = repository.run("branch", "--list", branch).strip()
    repository.run("checkout", "--quiet", *(() if there else ("-b",)), branch)
    if merging is not None:
        repository.run("merge", "--quiet", "--ff-only", merging)


def push(paths: DemoPaths) -> None:
    """Push the branch to the bare remote.

    Raises:
        EnvironmentLacks: git fails.
    """
    _repository(paths).run("push", "--quiet", "--no-verify", "origin", "HEAD")


def _refuse_unless_free(folder: Path) -> None:
    if folder.is_dir():
        try:
            if any(folder.iterdir()):
                raise UsageError(
                    f"{folder} is not empty, and the demo overwrites nothing. Name a new folder: "
                    "gradatim demo OTHER-FOLDER"
                )
        except OSError as error:
            raise EnvironmentLacks(f"{folder} cannot be read: {error.strerror}.") from error
    elif folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is a file. The demo wants a new folder: gradatim demo OTHER-FOLDER")
    if "GIT_DIR" in os.environ or "GIT_WORK_TREE" in os.environ:
        raise UsageError(
            "GIT_DIR or GIT_WORK_TREE is set, as inside a git hook: the demo's commits would land in that "
            "repository. Unset both and run the same command again."
        )


def _repository(paths: DemoPaths) -> Repository:
    return Repository(paths.project, paths.project / ".git", shallow=False)


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_file() and "__pycache__" not in name.parts and name.parts[0] not in _MADE:
            write_bytes(target / name, path.read_bytes())


def _commit(repository: Repository, message: str) -> None:
    repository.run("add", "--all")
    repository.run("commit", "--quiet", "--no-verify", "--allow-empty", "--message", message)


def _bring_a_pickle(paths: DemoPaths, pickled: Path) -> None:
    """Put the weights into a pickle, a harmless one, and point the contract at it."""
    with np.load(paths.project / "weights" / "digits.npz", allow_pickle=False) as weights:
        write_bytes(pickled, pickle.dumps({name: weights[name] for name in weights.files}, protocol=4))
    before, rest = paths.contract.read_text(encoding="utf-8").split("  path: model/digits.onnx", 1)
    data = rest[rest.index("\ndata:") :]
    write_text(paths.contract, f"{before}  path: weights/digits.pkl\n{data}")
