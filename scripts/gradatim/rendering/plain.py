"""What the files of Jenkins, CircleCI and Travis share: the shell of a job, and what a template may ask for."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradatim.files import template_folder
from gradatim.pipeline.graph import CHECKS
from gradatim.rendering import kit
from gradatim.rendering.actions import runs_user_code
from gradatim.rendering.jobs import Consumer, Job

MARK = "Rendered by gradatim"
"""Stands in the first line of what is rendered whole, and so may be rendered again."""


def environment(folder: str, brackets: tuple[str, str] = ("<", ">")) -> Any:
    """Jinja for a folder of templates, with delimiters of brackets that its CI system does not use so."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    opened, closed = brackets
    made = Environment(  # noqa: S701 (YAML and Groovy, not HTML: values are quoted where they need it)
        loader=FileSystemLoader(template_folder(folder)),
        undefined=StrictUndefined,
        block_start_string=f"{opened}%",
        block_end_string=f"%{closed}",
        variable_start_string=2 * opened,
        variable_end_string=2 * closed,
        comment_start_string=f"{opened}#",
        comment_end_string=f"#{closed}",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    made.filters["yaml"] = lambda value: json.dumps(str(value), ensure_ascii=False)
    made.filters["shell"] = lambda value: shlex.quote(str(value))
    return made


def render_whole(template: str, project: Consumer, there: str, **more: Any) -> str | None:
    """A file that is rendered whole: over nothing, or over one that was rendered, never over a person's."""
    if there.strip() and MARK not in there.partition("\n")[0]:
        return None
    folder = template.partition("/")[0]
    text: str = (
        environment(folder).get_template(template.partition("/")[2]).render({**values(project), **more})
    )
    return text


def values(project: Consumer) -> Mapping[str, Any]:
    """What every template of a project is given."""
    return {
        "project": project,
        "jobs": project.jobs,
        "waves": waves(project.jobs),
        "last_check": CHECKS[-1].name,
        "kit": kit.requirement(project.commit or kit.REF),
        "locks": kit.locks(project.commit or kit.REF),
        "trusts": trusts,
        "install": install("/tmp/gradatim", project.extras),  # noqa: S108 (of a machine that is the job's alone)
        "unpack": f'gradatim ci unpack --contract "$GRADATIM_CONTRACT" --all --from {shlex.quote(project.handed)}',
        "pack": lambda name: (
            f'gradatim ci pack --contract "$GRADATIM_CONTRACT" --to {shlex.quote(project.handed)}/{name}.tar'
        ),
        "leaves": lambda job: leaves(job, project.jobs),
        "handing": lambda job: handing(job, project.jobs),
    }


def install(folder: str, extras: Iterable[str]) -> str:
    """The line that puts the kit on PATH, where no machine holds it already; a job on a GPU names its own extras."""
    first, *others = kit.locked(extras)
    locks = f"{first} ${{GRADATIM_EXTRAS:-{' '.join(others)}}}"
    return f'test -z "$GRADATIM_KIT" || {{ {" && ".join(kit.install(folder, locks))}; }}'


def trusts(job: Job) -> bool:
    """Whether a job may install the user's own requirements: it runs their code, and holds no secret."""
    return job.step is not None and runs_user_code(job.step)


def leaves(job: Job, jobs: Sequence[Job]) -> bool:
    """Whether a later job reads what this one leaves in the workspace; a count lies in git."""
    return job.name != "count" and any(job.name in other.needs for other in jobs)


def handing(job: Job, jobs: Sequence[Job]) -> list[str]:
    """The jobs whose leavings a job takes over."""
    return [other.name for other in jobs if other.name in job.needs and leaves(other, jobs)]


def waves(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that may run side by side, wave after wave; one that must be alone on its machine is a wave of its own."""
    done: set[str] = set()
    left, found = list(jobs), []
    while left:
        ready = [job for job in left if done >= set(job.needs)]
        together = [job for job in ready if not (job.step and (job.step.alone or job.step.outward))]
        found.append(together or ready[:1])
        done |= {job.name for job in found[-1]}
        left = [job for job in left if job.name not in done]
    return found
