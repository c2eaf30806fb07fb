"""The jobs of a release, the same on every CI system: their order, commands, occasions and secrets, from the graph."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gradatim.contract.model_formats import on_gpu
from gradatim.contract.reading import ReadContract
from gradatim.contract.schema import Contract
from gradatim.contract.stores import STORES
from gradatim.pipeline.graph import CHECKS, GRAPH, Step
from gradatim.rendering.actions import SIGNING, all_needs, inputs_of
from gradatim.rendering.kit import locked
from gradatim.shard import shards

TOKEN = "GRADATIM_TOKEN"  # noqa: S105 (a name)
"""The variable with a token that may push tags, where the checkout itself may not."""

HANDED = "jobs"
"""The folder of the workspace in which archives of jobs lie."""

TAGS = r"^(.+@)?v[0-9]+\.[0-9]+\.[0-9]+"
"""Tags that stand for a version."""

_CHECKED = ("check", "release")
_OCCASIONS = {"tag": ("release",), "publish": ("release", "publish")}


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        name: of the step; ``evaluate-2-of-4`` for one part of its rows.
        question: what it answers or does.
        needs: every job before it whose results it reads.
        command: one line of shell; values in variables that begin with ``GRADATIM_``.
        occasions: when it runs: ``check`` a pull request, ``release`` a push to a stage's branch, ``publish`` a pushed
            tag, ``promote`` and ``rollback`` by hand.
        secrets: environment variables that this job gets, and none without need.
        goes_on: whether a refusal lets the other jobs run, for the last check to refuse with every reason.
        step: the step of the graph; None for what is done around the steps.
    """

    name: str
    question: str
    needs: tuple[str, ...]
    command: str
    occasions: tuple[str, ...] = _CHECKED
    secrets: tuple[str, ...] = ()
    goes_on: bool = False
    step: Step | None = None

    @property
    def line(self) -> str:
        """The command as a shell runs it: what need not stop the other jobs does not."""
        if self.step is None:
            return f"{self.command} || true"
        return f"{self.command} || test $? -eq 1" if self.goes_on else self.command


@dataclass(frozen=True)
class Consumer:
    """A repository to render for.

    Attributes:
        contract: the model's.
        top: the top of the repository.
        extras: extras of the kit that its jobs need.
        committed: whether git holds the model, so that no job hands it on.
        others: the other contracts of the repository that can be read.
        commit: the kit's own, which is called then; else its version is.
    """

    contract: ReadContract
    top: Path
    extras: tuple[str, ...] = ()
    committed: bool = True
    others: tuple[ReadContract, ...] = ()
    commit: str | None = None

    @property
    def path(self) -> PurePosixPath:
        """The contract, from the top of the repository."""
        return PurePosixPath(self.contract.path.resolve().relative_to(self.top.resolve()).as_posix())

    @property
    def workspace(self) -> str:
        """Where the steps leave their results, from the top of the repository."""
        return (self.path.parent / ".gradatim").as_posix()

    @property
    def handed(self) -> str:
        """Where jobs hand on what they leave, an archive each; never sent on itself."""
        return f"{self.workspace}/{HANDED}"

    @property
    def requirements(self) -> str:
        """The user's own requirements file; empty without one."""
        return "requirements.txt" if (self.top / "requirements.txt").is_file() else ""

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs, each after those that it needs."""
        return jobs_of(self.contract.parts)

    def branches(self, *, approved: bool | None = None) -> list[str]:
        """The branches of the stages, or of those alone that want an approval, or want none."""
        found = [
            stage.branch
            for stage in self.contract.parts.stages.values()
            if stage.branch and approved in (None, stage.approval == "required")
        ]
        return list(dict.fromkeys(found))

    @property
    def approved(self) -> list[str]:
        """The stages that want an approval."""
        return [name for name, stage in self.contract.parts.stages.items() if stage.approval == "required"]

    @property
    def extras_on_gpu(self) -> str:
        """The locks of a job on a GPU, beside that of the kit; empty where the model needs none."""
        there = self.contract.parts.model.device != "cpu"
        return " ".join(locked(on_gpu(self.extras))[1:]) if there else ""

    def runners(self, job: Job) -> dict[str, tuple[str, ...]]:
        """Labels of the runner for a job by the branch whose push starts it, where the contract names one."""
        parts = self.contract.parts
        named = {
            stage.branch: parts.runners[name]
            for stage_name, stage in parts.stages.items()
            if stage.branch and job.step and job.step.heavy
            if (name := parts.runner_of(job.step.name, stage_name))
        }
        return {branch: tuple(runner.labels) or (str(runner.group),) for branch, runner in named.items()}


def jobs_of(contract: Contract) -> tuple[Job, ...]:
    """Every job of a contract, in the order of the graph."""
    stores = [STORES[place.kind] for place in contract.publish.to]
    credentials = tuple(dict.fromkeys(variable for store in stores for variable in store.variables))
    signing = tuple(given.variable for given in SIGNING) if contract.signing and contract.signing.key else ()
    found: list[Job] = []
    fetched, counted = bool(credentials), contract.data.uses is not None
    if fetched:
        question = "Fetch the release that would be replaced, where credentials are needed to read it."
        command = 'gradatim ci baseline --contract "$GRADATIM_CONTRACT"'
        found.append(
            Job("baseline", question, (), command, secrets=credentials, goes_on=True)
        )  # without it a step says what it lacks
    for step in GRAPH:
        needs = tuple(job.name for job in found if _rests(step, job))
        if step.outward:
            secrets = (TOKEN, *credentials, *(signing if step.signs else ()))
            occasions = _OCCASIONS.get(step.name, (step.name,))
            found.append(
                Job(step.name, step.question, needs, command_of(step), occasions, secrets, step=step)
            )
            continue
        if step.counted and counted:
            question = "Count a use of the evaluation data, before it is evaluated."
            command = 'gradatim ci count --contract "$GRADATIM_CONTRACT"'
            found.append(Job("count", question, needs, command, secrets=(TOKEN,)))
            needs = (*needs, "count")
        passes = goes_on(step)
        shared = contract.jobs_that_share if contract.can_share(step.name) else 1
        for part in shards(shared) if shared > 1 else ():
            name, command = f"{step.name}-{part.folder}", command_of(step, part.folder)
            found.append(Job(name, step.question, needs, command, goes_on=passes, step=step))
        needs = tuple(dict.fromkeys((*needs, *(job.name for job in found if job.step is step))))
        found.append(Job(step.name, step.question, needs, command_of(step), goes_on=passes, step=step))
    return tuple(found)


def _rests(step: Step, job: Job) -> bool:
    """Whether a step reads what an earlier job leaves."""
    if job.step is None:
        return job.name == "baseline" and bool(step.needs) and not step.outward
    return job.name in all_needs(step)  # what its parts left, a step has merged


def goes_on(step: Step) -> bool:
    """Whether the walk goes on after a refusal of this step, as `gradatim run` does."""
    return not step.unsafe_to_pass and step is not CHECKS[-1]


def command_of(step: Step, shard: str | None = None) -> str:
    """A step's command line, its values in variables that a run by hand may set.

    Args:
        shard: the part of the rows that it does, in the shell's words; all of them when left out.
    """
    arguments = [
        re.sub(rf"\b{given.variable}\b", f"GRADATIM_{given.variable}", given.argument)
        for given in inputs_of(step)
        if given.argument and given.name != "shard"
    ]
    arguments += [f'--shard "{shard}"'] if shard else []
    return " ".join([f"gradatim {step.name}", *arguments])
