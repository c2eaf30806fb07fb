"""GitLab's include rendered from the graph of steps: one job a step.

``python -m gradatim.rendering.gitlab`` writes it into a checkout of the kit, ``--check`` tells whether it has drifted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.contract.model_formats import extra_of, on_gpu
from gradatim.files import write_text
from gradatim.pipeline.graph import CHECKS, GRAPH, Step
from gradatim.rendering.actions import outputs_of
from gradatim.rendering.jobs import Consumer, command_of, goes_on
from gradatim.rendering.kit import RAW, REF, install, locked, locks, requirement
from gradatim.rendering.plain import environment

PATH = "templates/release/template.yml"
"""Where the include lies in the kit's repository: where GitLab's catalogue looks for a component."""

KIT = requirement()
"""What a job installs: the kit at the version of the include, from where the include itself comes."""

OUTWARD = tuple(step for step in GRAPH if step.outward)

_ENVIRONMENTS = {
    "tag": "release/$CI_COMMIT_BRANCH",
    "publish": "release/publish",
    "promote": "release/$GRADATIM_STAGE",
    "rollback": "release/$GRADATIM_STAGE",
}


@dataclass(frozen=True)
class IncludeInput:
    """An input of the include.

    Attributes:
        name: kebab-case, as a pipeline spells it.
        description: what it does, in a line.
        default: its value when left out; a number takes numbers alone.
        regex: what a value must match, before any job is made of it.
        options: the only values that there are.
    """

    name: str
    description: str
    default: str | int
    regex: str = ""
    options: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """The type of its values, as GitLab calls it."""
        return "number" if isinstance(self.default, int) else "string"


_FILE = r"^([\w.][\w ./-]*)?$"
"""A path inside of the repository; never an option of a command."""

INPUTS = (
    IncludeInput("contract", "Path of the contract.", "gradatim.yml", _FILE),
    IncludeInput(
        "workspace",
        "Where the steps leave their results: .gradatim beside the contract.",
        ".gradatim",
        r"^([\w-][\w .-]*/)*\.gradatim$",
    ),
    IncludeInput(
        "branches",
        "The branches that hold the contract's stages, as a regular expression.",
        "/^(develop|staging|main)$/",
        r"^/.+/$",
    ),
    IncludeInput(
        "built",
        "What `build` makes and git does not hold, as in model/digits.onnx: later jobs need it.",
        ".gradatim/",
    ),
    IncludeInput("kit", "What pip installs: the kit alone. Empty: the image holds the kit.", KIT),
    IncludeInput(
        "locks", "The folder of the locks from which pip installs what the kit needs, with hashes.", locks()
    ),
    IncludeInput(
        "extras",
        "Which locks beside that of the kit: one for each extra that model and publishers need.",
        "onnx test",
        r"^[a-z0-9 -]*$",
    ),
    IncludeInput("requirements", "Your own requirements file, for code that the contract names.", "", _FILE),
    IncludeInput("image", "The image of every job: Python 3.10 or newer, and git.", "python:3.11"),
    IncludeInput("timeout", "How long one job may take.", "1 hour", r"^[0-9a-z ]+$"),
    IncludeInput(
        "shards",
        "Jobs that share the rows of `evaluate` and of the robustness in `test`; 1 shares nothing.",
        1,
    ),
    IncludeInput(
        "job-prefix",
        "Begins every job's name; another one for every further model.",
        "gradatim-",
        r"^[\w.@-]*$",
    ),
    IncludeInput(
        "artifacts-access",
        "Who may read what jobs leave: predictions may be private.",
        "developer",
        options=("developer", "all", "none"),
    ),
    IncludeInput("checks-stage", "The stage of the jobs that check.", "test"),
    IncludeInput(
        "release-stage", "The stage of the jobs that tag, publish, promote and roll back.", "deploy"
    ),
)


def render_include() -> str:
    """The include, as it lies in the kit's repository."""
    values: dict[str, Any] = {
        "inputs": INPUTS,
        "checks": CHECKS,
        "last_check": CHECKS[-1].name,
        "outward": OUTWARD,
        "environment": _ENVIRONMENTS,
        "command": command_of,
        "goes_on": goes_on,
        "outputs_of": _outputs,
        "install": install(
            '"$CI_PROJECT_DIR.tmp/gradatim"',
            "kit $GRADATIM_EXTRAS",
            '"${GRADATIM_DOWNLOADS:---no-cache-dir}"',
        ),
    }
    text: str = environment("gitlab").get_template("release.yml.j2").render(values)
    return text


def render(project: Consumer, there: str = "") -> str | None:
    """What a ``.gitlab-ci.yml`` says with the include for a project; a file that is there is added to, never rewritten.

    Returns:
        None where the file has an ``include:`` of its own that only a person can add to.
    """
    text = render_caller(project, stages=_stages(there))
    if PATH in there and text.split("inputs:\n", 1)[1] in there:
        return there
    if re.search(r"^include:", there, re.MULTILINE):
        return None
    return f"{there.rstrip()}\n\n{text}" if there.strip() else text


def render_caller(project: Consumer, stages: Sequence[str] = ()) -> str:
    """What a project adds to its ``.gitlab-ci.yml`` for a contract, pinned to the very kit that is installed.

    Args:
        stages: those that the file names already; none leaves GitLab's own.
    """
    parts, commit = project.contract.parts, project.commit
    extra = extra_of(parts.model.path, parts.model.opened_as) or "onnx"
    branches = "|".join(map(re.escape, project.branches()))
    values: dict[str, str] = {"branches": f"/^({branches})$/"}
    if project.path.parent.name:
        values |= {"contract": str(project.path), "workspace": project.workspace}
    if parts.model.path and not project.committed:
        values["built"] = (project.path.parent / parts.model.path).as_posix()
    if commit:
        values |= {"kit": requirement(commit), "locks": locks(commit)}
    names = locked((extra, "test", *project.extras))[1:]
    if names != ["onnx", "test"]:
        values["extras"] = " ".join(names)
    if project.requirements:
        values["requirements"] = project.requirements
    if project.others:
        values["job-prefix"] = f"{parts.model.name}-"
    if stages:
        checks = next((name for name in stages if re.search("test|check|verify", name)), stages[0])
        release = next((name for name in stages if re.search("deploy|release|publish", name)), stages[-1])
        values |= {"checks-stage": checks, "release-stage": release}
    lines = [f"      {name}: {json.dumps(value)}" for name, value in values.items()]
    named = {step.name: parts.runner_of(step.name, None) for step in CHECKS if step.heavy}
    prefix = values.get("job-prefix", "gradatim-")
    there = (
        " ".join(locked(on_gpu((extra, "test", *project.extras)))[1:]) if parts.model.device != "cpu" else ""
    )
    variables = f"  variables: {{GRADATIM_EXTRAS: {json.dumps(there)}}}\n" if there else ""
    own = [
        f"\n{prefix}{step}:\n  tags: {json.dumps(parts.runners[name].labels)}\n{variables}"
        f"{_asked(values['branches']) if parts.runners[name].environment else ''}"
        for step, name in named.items()
        if name
    ]
    pinned = f"{commit}/{PATH}  # {REF}" if commit else f"{REF}/{PATH}"
    remote = [f"  - remote: {RAW}/{pinned}", f"    integrity: {integrity()}"]
    return "\n".join(["include:", *remote, "    inputs:", *lines, *own, ""])


def _asked(branches: str) -> str:
    """When a job runs that a merge request gets from a person alone, who starts it."""
    rules = [
        "if: $GRADATIM_DO\n      when: never",
        'if: $CI_PIPELINE_SOURCE == "merge_request_event"\n      when: manual',
        f'if: $CI_COMMIT_BRANCH =~ {branches} && $CI_PIPELINE_SOURCE != "schedule"',
    ]
    return "".join(
        ["  rules: # whoever starts it has read the merge request\n", *(f"    - {rule}\n" for rule in rules)]
    )


def integrity() -> str:
    """The digest that GitLab holds the include to before it reads it: https://docs.gitlab.com/ci/yaml/#includeintegrity"""
    digest = hashlib.sha256(render_include().encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _stages(text: str) -> list[str]:
    """The stages that a ``.gitlab-ci.yml`` names itself."""
    found = re.search(
        r"^stages:[ \t]*(?:\[(?P<flow>[^\]]*)\]|\n(?P<block>(?:[ \t]*-[^\n]*\n?)+))", text, re.MULTILINE
    )
    if found is None:
        return []
    words = (
        found["flow"].split(",")
        if found["flow"] is not None
        else re.findall(r"-[ \t]*([^\n#]+)", found["block"])
    )
    return [word.strip().strip("'\"") for word in words if word.strip()]


def _outputs(step: Step) -> str:
    names = (output.name for output in outputs_of(step) if output.name != "workspace")
    return ", ".join(name.upper().replace("-", "_") for name in names)


def main(arguments: Sequence[str]) -> int:
    """Write the include into the checkout that this module lies in, or compare it with ``--check``."""
    path = Path(__file__).resolve().parents[3] / PATH
    text = render_include()
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in arguments:
        sys.stderr.write(f"{PATH} has drifted from its template and the graph.\n")
        return 1
    write_text(path, text)
    sys.stderr.write(f"{PATH}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
