"""Travis CI's configuration from the graph of steps: one build stage a wave of jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from gradatim.rendering.jobs import TAGS, Consumer, Job
from gradatim.rendering.plain import render_whole, trusts


def render(project: Consumer, there: str = "") -> str | None:
    """The configuration of a project; None where a person wrote the one that is there."""
    secrets = list(dict.fromkeys(secret for job in project.jobs for secret in job.secrets))
    return render_whole(
        "travis/travis.yml.j2",
        project,
        there,
        secrets=secrets,
        forgotten=lambda job: [
            *(secret for secret in secrets if secret not in job.secrets),
            *([] if trusts(job) or not project.requirements else ["GRADATIM_REQUIREMENTS"]),
        ],
        entries=lambda job: _entries(project, job),
    )


def _entries(project: Consumer, job: Job) -> list[tuple[str, bool]]:
    """The conditions under which a job runs, each with whether earlier jobs of the build left something for it."""
    stages = _in(project.branches())
    by_itself = "env(GRADATIM_DO) IS blank"
    if job.step and job.step.asked:
        return [(f"env(GRADATIM_DO) = {job.name} AND type = api AND branch IN {stages}", True)]
    free, asking = project.branches(approved=False), project.branches(approved=True)
    pushed = f"type IN (push, api) AND branch IN {stages}"
    if job.step and job.step.outward and asking:
        ways = [f"type = api AND branch IN {stages}"]
        ways += [f"type = push AND branch IN {_in(free)}"] if free else []
        pushed = " OR ".join(f"({way})" for way in ways)
    pull = " OR type = pull_request" if "check" in job.occasions else ""
    found = [(f"{by_itself} AND tag IS blank AND (({pushed}){pull})", True)]
    if "publish" in job.occasions:
        found.append((f"{by_itself} AND tag =~ /{TAGS}/", False))
    return found


def _in(names: Sequence[str]) -> str:
    return f"({', '.join(json.dumps(name, ensure_ascii=False) for name in names)})"
