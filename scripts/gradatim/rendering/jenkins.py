"""A declarative Jenkinsfile from the graph of steps."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from gradatim.rendering.jobs import TAGS, Consumer, Job
from gradatim.rendering.plain import install, render_whole

_ANY = "built-in || !built-in"
"""A label that every agent has."""

_BY_HAND = "expression { params.GRADATIM_DO in ['promote', 'rollback'] }"


def render(project: Consumer, there: str = "") -> str | None:
    """The Jenkinsfile of a project; None where a person wrote the one that is there."""
    secrets = dict.fromkeys(secret for job in project.jobs for secret in job.secrets)
    return render_whole(
        "jenkins/Jenkinsfile.j2",
        project,
        there,
        groovy=groovy,
        by_hand=_BY_HAND,
        id=_id,
        ids=[_id(secret) for secret in secrets],
        rule=lambda job: _rule(project, job),
        branches=branches,
        labels=lambda job: _labels(project, job),
        install=install('"$WORKSPACE_TMP/gradatim"', project.extras),
        on_gpu=lambda job: _on_gpu(project, job),
    )


def groovy(text: object) -> str:
    """A string of Groovy in which nothing is filled in."""
    quoted = str(text).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"


def branches(names: Sequence[str]) -> str:
    """The condition that one of these branches is built; a pull request is called otherwise there."""
    return f"branch pattern: {groovy('^(' + '|'.join(map(re.escape, names)) + ')$')}, comparator: 'REGEXP'"


def _rule(project: Consumer, job: Job) -> str:
    """When a job runs, in the words of a `when`."""
    stages = branches(project.branches())
    if job.step and job.step.asked:
        return f"expression {{ params.GRADATIM_DO == '{job.name}' }}\n    {stages}"
    also = [f"tag pattern: {groovy(TAGS)}, comparator: 'REGEXP'"] if "publish" in job.occasions else []
    also += ["changeRequest()"] if "check" in job.occasions else []
    where = f"anyOf {{ {'; '.join([stages, *also])} }}" if also else stages
    return f"not {{ {_BY_HAND} }}\n    {where}"


def _labels(project: Consumer, job: Job) -> str:
    """The label of a job's agent, by the branch that is built; empty where any will do."""
    chosen = "".join(
        f"env.BRANCH_NAME == {groovy(branch)} ? {groovy(' && '.join(labels))} : "
        for branch, labels in project.runners(job).items()
    )
    return f"{chosen}'{_ANY}'" if chosen else ""


def _on_gpu(project: Consumer, job: Job) -> str:
    """The line by which a job names its extras on the branches where it goes to a GPU; empty where it never does."""
    where = "|".join(shlex.quote(branch) for branch in project.runners(job))
    extras = shlex.quote(project.extras_on_gpu)
    return (
        f'case "$BRANCH_NAME" in {where}) GRADATIM_EXTRAS={extras} ;; esac'
        if where and project.extras_on_gpu
        else ""
    )


def _id(variable: str) -> str:
    """What a credential is called in Jenkins."""
    return variable.lower().replace("_", "-")
