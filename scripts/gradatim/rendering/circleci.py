"""CircleCI's configuration from the graph of steps: a workflow for the checks, one for every stage, and those by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gradatim.pipeline.graph import GRAPH
from gradatim.rendering.actions import SIGNING
from gradatim.rendering.jobs import TAGS, TOKEN, Consumer, Job
from gradatim.rendering.plain import render_whole

_SIGNING = tuple(given.variable for given in SIGNING)
_BY_HAND = "<< pipeline.parameters.do >>"
_STAGE = "<< pipeline.parameters.stage >>"
_PLAIN = {"docker": [{"image": "cimg/python:3.11"}]}


@dataclass(frozen=True)
class Flow:
    """One workflow.

    Attributes:
        name: as CircleCI shows it.
        when: the condition, as YAML.
        filters: which branches or tags, as YAML.
        jobs: in order.
        approved: whether somebody must approve before the outward ones.
        runners: the executor of a job, where it is not the plain one.
    """

    name: str
    when: str
    filters: str
    jobs: tuple[Job, ...]
    approved: bool = False
    runners: Mapping[str, str] = field(default_factory=dict)

    def requires(self, job: Job) -> list[str]:
        """What a job waits for here, as YAML."""
        here = {other.name: other for other in self.jobs}
        needs = [
            name
            if here[name].step
            else f"{name}: terminal"  # without baseline or count a step says what it lacks
            for name in job.needs
            if name in here and not any(name in here[other].needs for other in job.needs if other in here)
        ]
        return [*needs, *(["approve"] if self.asks(job) else [])]

    def asks(self, job: Job) -> bool:
        """Whether a job waits for an approval here; what follows it does not ask again."""
        return self.approved and job.step is not None and (job.name == "tag" or job.step.asked)


def render(project: Consumer, there: str = "") -> str | None:
    """The configuration of a project; None where a person wrote the one that is there."""
    executors: dict[str, Mapping[str, Any]] = {"plain": _PLAIN} | {
        _executor(labels): _machine(labels)
        for job in project.jobs
        for labels in project.runners(job).values()
    }
    return render_whole(
        "circleci/config.yml.j2",
        project,
        there,
        executors=executors,
        workflows=_workflows(project),
        on_gpu=project.extras_on_gpu,
        contexts=_contexts(project),
        context_of=lambda job: [
            name for name, variables in _contexts(project).items() if set(variables) & set(job.secrets)
        ],
    )


def _workflows(project: Consumer) -> list[Flow]:
    by_itself = json.dumps({"equal": ["", _BY_HAND]})
    stages = project.branches()
    on = {
        kind: tuple(job for job in project.jobs if kind in job.occasions)
        for kind in ("check", "release", "publish", "promote", "rollback")
    }
    found = [Flow("checks", by_itself, json.dumps({"branches": {"ignore": stages}}), on["check"])]
    for name, stage in project.contract.parts.stages.items():
        if stage.branch and not any(flow.filters == _only(stage.branch) for flow in found):
            named = {job.name: project.runners(job).get(stage.branch) for job in project.jobs}
            runners = {job: _executor(labels) for job, labels in named.items() if labels}
            asks = stage.branch in project.branches(approved=True)
            found.append(Flow(name, by_itself, _only(stage.branch), on["release"], asks, runners))
    tags = json.dumps({"branches": {"ignore": "/.*/"}, "tags": {"only": f"/{TAGS}.*/"}})
    found.append(Flow("publish a tag", by_itself, tags, on["publish"]))
    for step in (step for step in GRAPH if step.asked):
        for asks in (False, True) if project.approved else (False,):
            guarded = {"or": [{"equal": [name, _STAGE]} for name in project.approved]}
            which = [guarded if asks else {"not": guarded}] if project.approved else []
            when = json.dumps({"and": [{"equal": [step.name, _BY_HAND]}, *which]})
            name = f"{step.name} with approval" if asks else step.name
            only = json.dumps({"branches": {"only": stages}})
            found.append(Flow(name, when, only, on[step.name], asks))
    return found


def _only(branch: str) -> str:
    return json.dumps({"branches": {"only": [branch]}})


def _contexts(project: Consumer) -> Mapping[str, tuple[str, ...]]:
    """Secrets that belong together, by the context that holds them."""
    every = dict.fromkeys(secret for job in project.jobs for secret in job.secrets)
    stores = tuple(secret for secret in every if secret != TOKEN and secret not in _SIGNING)
    signing = tuple(secret for secret in every if secret in _SIGNING)
    found = {"gradatim-push": (TOKEN,), "gradatim-stores": stores, "gradatim-signing": signing}
    return {name: variables for name, variables in found.items() if variables}


def _executor(labels: tuple[str, ...]) -> str:
    return "-".join(labels).replace("/", "-").replace(".", "-")


def _machine(labels: tuple[str, ...]) -> Mapping[str, Any]:
    """The last label is the resource class: `gpu.nvidia.medium`, or `team/gpu` of a runner of one's own."""
    machine = True if "/" in labels[-1] else {"image": "linux-cuda-12:default"}
    return {"machine": machine, "resource_class": labels[-1]}
