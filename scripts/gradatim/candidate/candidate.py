"""One candidate on its way to a release, carved by what is asked of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gradatim.candidate.digests import Digests
from gradatim.candidate.forms import Forms
from gradatim.candidate.identity import Identity
from gradatim.candidate.model import Model
from gradatim.candidate.replaced import BASELINE, Replaced
from gradatim.candidate.rows import Rows
from gradatim.candidate.workspace import Workspace
from gradatim.progress import Progress, Silent

if TYPE_CHECKING:
    from gradatim.metrics.task import Task

_WAITS = "it waits for a GPU, which this pull request does not get; it is measured once this is merged"


@dataclass
class Candidate(Identity):
    """One candidate: what it is, its forms and rows, and what it would replace.

    What is read of files and tags is read once; ``anew`` looks again.

    Attributes:
        progress: where long work reports to.
        unproven: steps whose evidence the step at work needs and that is missing or stale: the step that is the reason,
            itself or one that it rests on.
    """

    progress: Progress = field(default_factory=Silent)
    unproven: Mapping[str, str] = field(default_factory=dict)

    def anew(self, *, same_registry: bool, step: str | None = None) -> Candidate:
        """The same candidate seen afresh, after the workspace, the model or the tags may have changed; at a step, if any."""
        fresh = replace(self, step=step)
        if same_registry:
            fresh.take_registry_of(self)
        return fresh

    @functools.cached_property
    def workspace(self) -> Workspace:
        """Where its steps leave their results."""
        return Workspace(self.root)

    @functools.cached_property
    def model(self) -> Model:
        """How it is opened and called."""
        return Model(self.contract, self.machine)

    @functools.cached_property
    def forms(self) -> Forms:
        """As built, and as compress left it."""
        return Forms(self.model, self.workspace)

    @functools.cached_property
    def rows(self) -> Rows:
        """What it is judged on."""
        return Rows(self.contract, self.contract)

    @functools.cached_property
    def digests(self) -> Digests:
        """What its evidence rests on."""
        return Digests(self.contract)

    @functools.cached_property
    def replaced(self) -> Replaced:
        """The release that it would replace."""
        return Replaced(self, self.forms, self.workspace)

    @property
    def waits(self) -> str | None:
        """Why what a GPU alone can measure may be missing, in a pull request, which may get none; None where it must be there."""
        return _WAITS if self.bare and self.device("benchmark") != "cpu" else None

    def model_of(self, name: str) -> Model:
        """How a form of the candidate is opened, or another candidate of its recipe, or the baseline: by its name."""
        if name in self.forms.others:
            return dict(zip(self.forms.others, self.model.others, strict=True))[name]
        return self.replaced.model if name == BASELINE else self.model

    def rows_of(self, name: str) -> Rows:
        """The rows as a form of the candidate takes them, or the baseline."""
        return self.replaced.rows if name == BASELINE else self.rows

    def task_of(self, name: str) -> Task:
        """How the answers of a form of the candidate are read, or the baseline's."""
        return self.replaced.task() if name == BASELINE else self.rows.task()
