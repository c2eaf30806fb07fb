"""GitLab's include rendered from the graph of steps: one job a step.

``python -m gradatim.rendering.gitlab`` writes it into a checkout of the kit, ``--check`` tells whether it has drifted.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim import __version__
from gradatim.contract.model_formats import extra_of
from gradatim.contract.reading import ReadContract
from gradatim.files import template_folder, write_text
from gradatim.pipeline.graph import CHECKS, GRAPH, Step
from gradatim.rendering.actions import inputs_of, outputs_of

PATH = "templates/release/template.yml"
"""Where the include lies in the kit's repository: where GitLab's catalogue looks for a component."""

REF = f"v{__version__}"
"""The kit's own version, at which the include is taken."""

KIT = f"gradatim[onnx,test] @ git+https://github.com/gradatim/gradatim@{REF}"
"""What a job installs: the kit at the version of the include, from where the include itself comes."""

_RAW = "https://raw.githubusercontent.com/gradatim/gradatim"

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
    """

    name: str
    description: str
    default: str | int


INPUTS = (
    IncludeInput("contract", "Path of the contract.", "gradatim.yml"),
    IncludeInput(
        "workspace", "Where the steps leave their results: .gradatim beside the contract.", ".gradatim"
    ),
    IncludeInput(
        "branches",
        "The branches that hold the contract's stages, as a regular expression.",
        "/^(develop|staging|main)$/",
    ),
    IncludeInput(
        "built",
        "What `build` makes and git does not hold, as in model/digits.onnx: later jobs need it.",
        ".gradatim/",
    ),
    IncludeInput("kit", "What pip installs. Empty: the image holds the kit.", KIT),
    IncludeInput("requirements", "Your own requirements file, for code that the contract names.", ""),
    IncludeInput("image", "The image of every job: Python 3.10 or newer, and git.", "python:3.11"),
    IncludeInput("timeout", "How long one job may take.", "1 hour"),
    IncludeInput(
        "shards",
        "Jobs that share the rows of `evaluate` and of the robustness in `test`; 1 shares nothing.",
        1,
    ),
    IncludeInput("job-prefix", "Begins every job's name; another one for every further model.", "gradatim-"),
    IncludeInput("checks-stage", "The stage of the jobs that check.", "test"),
    IncludeInput(
        "release-stage", "The stage of the jobs that tag, publish, promote and roll back.", "deploy"
    ),
)


def render_include() -> str:
    """The include, as it lies in the kit's repository."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(  # noqa: S701 (YAML, not HTML)
        loader=FileSystemLoader(template_folder("gitlab")),
        undefined=StrictUndefined,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    values: dict[str, Any] = {
        "inputs": INPUTS,
        "checks": CHECKS,
        "last_check": CHECKS[-1].name,
        "outward": OUTWARD,
        "environment": _ENVIRONMENTS,
        "command": _command,
        "goes_on": _goes_on,
        "outputs_of": _outputs,
    }
    return made.get_template("release.yml.j2").render(values)


def render_caller(
    contract: ReadContract,
    top: Path,
    *,
    others: bool,
    committed: bool,
    stages: Sequence[str] = (),
    commit: str | None = None,
) -> str:
    """What a project adds to its ``.gitlab-ci.yml`` for a contract.

    Args:
        top: the top of the repository.
        others: whether the file includes the kit for other contracts too, so that jobs need names of their own.
        committed: whether git holds the model; else later jobs need what `build` makes.
        stages: those that the file names already; none leaves GitLab's own.
        commit: the kit's, which is included then; else its version is.
    """
    parts = contract.parts
    path = contract.path.resolve().relative_to(top.resolve())
    branches = "|".join(re.escape(s.branch) for s in parts.stages.values() if s.branch)
    values: dict[str, str] = {"branches": f"/^({branches})$/"}
    if path.parent.name:
        values |= {"contract": path.as_posix(), "workspace": (path.parent / ".gradatim").as_posix()}
    if parts.model.path and not committed:
        values["built"] = (path.parent / parts.model.path).as_posix()
    extra = extra_of(parts.model.path, parts.model.format) or "onnx"
    if commit or extra != "onnx":
        values["kit"] = KIT.replace("[onnx,", f"[{extra},").replace(f"@{REF}", f"@{commit or REF}")
    if (top / "requirements.txt").is_file():
        values["requirements"] = "requirements.txt"
    if others:
        values["job-prefix"] = f"{parts.model.name}-"
    if stages:
        checks = next((name for name in stages if re.search("test|check|verify", name)), stages[0])
        release = next((name for name in stages if re.search("deploy|release|publish", name)), stages[-1])
        values |= {"checks-stage": checks, "release-stage": release}
    lines = [f"      {name}: {json.dumps(value)}" for name, value in values.items()]
    pinned = f"{commit}/{PATH}  # {REF}" if commit else f"{REF}/{PATH}"
    return "\n".join(["include:", f"  - remote: {_RAW}/{pinned}", "    inputs:", *lines, ""])


def _goes_on(step: Step) -> bool:
    """Whether the walk goes on after a refusal of this step, as `gradatim run` does."""
    return not step.unsafe_to_pass and step is not CHECKS[-1]


def _command(step: Step, shard: str | None = None) -> str:
    """The step's command line, its values in variables that a pipeline run by hand may set.

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
