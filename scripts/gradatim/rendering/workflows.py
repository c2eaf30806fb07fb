"""GitHub's files rendered from the graph of steps: one action a step, the reusable workflows, a consumer's caller.

``python -m gradatim.rendering.workflows`` writes them into a checkout of the kit, ``--check`` tells what has drifted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gradatim.contract.reading import ReadContract
from gradatim.contract.schema import Contract
from gradatim.files import write_text
from gradatim.pipeline.graph import CHECKS, GRAPH
from gradatim.rendering.actions import (
    CONTRACT,
    CREDENTIALS,
    HELD,
    SIGNING,
    VERBS,
    Input,
    all_needs,
    inputs_of,
    outputs_of_action,
)
from gradatim.rendering.composite import composite_actions, described_checks
from gradatim.rendering.github_templates import render_template
from gradatim.rendering.jobs import Consumer
from gradatim.rendering.kit import REF, REPOSITORY

KIT = REPOSITORY
"""What holds the actions and the reusable workflows."""

CALLER = ".github/workflows/release.yml"
"""Where a consumer's caller workflow lies."""

VENDORED = ".github/workflows"
"""Where copies of the kit's workflows lie in a consumer's repository: GitHub finds them nowhere else."""

_CADENCES = {
    "daily": "17 5 * * *",
    "weekly": "17 5 * * 1",
    "fortnightly": "17 5 1,15 * *",
    "monthly": "17 5 1 * *",
}
"""Not at the full hour, when GitHub drops scheduled runs."""

_INPUTS: dict[str, dict[str, Any]] = {
    "contract": {"description": "Path of the contract.", "default": CONTRACT},
    "requirements": {
        "description": "Your own requirements file, for code that the contract names.",
        "default": "",
    },
    "runner": {
        "description": "The runner of every job whose stage declares none, and of every pull request.",
        "default": "ubuntu-latest",
    },
    "jobs": {
        "description": "`split` runs every step in a job of its own; `folded` runs all checks in one, which costs fewer minutes.",
        "default": "split",
    },
    "timeout-minutes": {"description": "How long one job may take.", "default": 60},
    "kit": {
        "description": "`own` installs the kit at this workflow's commit; empty: the runner or the container holds it, and nothing is "
        "installed.",
        "default": "own",
    },
    "container": {
        "description": "An image to run every job in, on runners that have a container engine.",
        "default": "",
    },
    "app-id": {
        "description": "Number of a GitHub App that may create tags where a ruleset restricts that. Left out, the workflow's own token "
        "does.",
        "default": "",
        "only": "release",
    },
    "plan": {
        "description": "What the action `plan` said, where the caller has asked it already.",
        "default": "",
        "only": "checks",
    },
    "before": {
        "description": "`toJSON(needs)` of the caller's job, whose jobs left something for these.",
        "default": "",
        "only": "checks",
    },
}
"""What the reusable workflows take; `only` names the one that alone takes it."""

_REASONS = {
    "contents": "tags and evidence",
    "pull-requests": "one comment on a pull request",
    "issues": "one issue with the plan of the next iteration",
    "id-token": "signatures in the name of this workflow",
    "actions": "who approved a promotion or a rollback",
}
"""What a grant of the workflow for a model is for."""


_ANCHOR = re.compile(r"(?<!&)&([a-z]+)")


@dataclass(frozen=True)
class Caller:
    """What a consumer's workflow must know of the contract.

    Attributes:
        branches: the branches that hold the stages.
        stages: the ladder, lowest first.
        crons: when reports of the iteration are due.
        contract: path of the contract; None for ``gradatim.yml`` at the top.
        requirements: the consumer's own requirements file, None without one.
        named: whether tags carry the model's name: ``digits@v1.0.0``.
        models: the names of all models, where one file calls the kit for several.
        kit: the repository of the kit.
        ref: the kit's commit or tag.
        version: what the ref stands for, as a comment.
    """

    branches: tuple[str, ...]
    stages: tuple[str, ...]
    crons: tuple[str, ...] = ()
    contract: str | None = None
    requirements: str | None = None
    named: bool = False
    models: tuple[str, ...] = ()
    kit: str = KIT
    ref: str = REF
    version: str | None = None


def render(project: Consumer, there: str = "") -> str | None:
    """The caller for a project and whatever others its repository holds; None where a person wrote what is there."""
    contracts = _contracts(project)
    text = render_caller(caller_of(contracts, project.top, project.commit))
    others = [one for one in contracts if one.path != project.contract.path]
    # what an earlier call wrote, before this contract was there, is replaced; what a person wrote is not
    ours = not there or there == text
    return (
        text
        if ours or (others and there == render_caller(caller_of(others, project.top, project.commit)))
        else None
    )


def render_vendored(project: Consumer) -> dict[str, str]:
    """The caller for a project with copies of what it calls, by path."""
    return vendored(caller_of(_contracts(project), project.top, project.commit))


def _contracts(project: Consumer) -> list[ReadContract]:
    top = project.top.resolve()
    every = [project.contract, *project.others]
    return sorted(every, key=lambda one: one.path.resolve().relative_to(top).as_posix())


def render_caller(caller: Caller) -> str:
    """The one workflow file that a team adds: at most 15 lines."""
    settings = {
        key: value
        for key, value in (("contract", caller.contract), ("requirements", caller.requirements))
        if value is not None
    }
    version = f" # {caller.version}" if caller.version else ""
    return render_template("caller.yml.j2", caller=caller, settings=settings, version=version)


def vendored(caller: Caller) -> dict[str, str]:
    """A caller and copies of the workflows that it calls, by path: for servers that do not know ``$/``.

    The copies call the kit's actions by owner and commit.
    """
    version = f" # {caller.version}" if caller.version else ""
    release = _workflow("release")
    copies = {
        "release": release,
        "checks": _workflow("checks"),
        **({"models": _models(release)} if caller.models else {}),
    }
    files = {}
    for name, text in copies.items():
        text = _without_aliases(text)
        text = re.sub(r"uses: \$/\.github/workflows/(\w+\.yml)", rf"uses: ./{VENDORED}/gradatim-\1", text)
        text = re.sub(
            r"uses: \$/(actions/[\w-]+)(.*)", rf"uses: {caller.kit}/\1@{caller.ref}\2{version}", text
        )
        head, _, body = text.partition("\n")
        files[f"{VENDORED}/gradatim-{name}.yml"] = (
            f"{head.partition('. Do not edit')[0]}, for servers without `$/`.\n{body}"
        )
    called = "models" if caller.models else "release"
    ours = f"uses: {caller.kit}/.github/workflows/{called}.yml@{caller.ref}{version}"
    files[CALLER] = render_caller(caller).replace(ours, f"uses: ./{VENDORED}/gradatim-{called}.yml")
    return files


def _without_aliases(text: str) -> str:
    """A workflow with every alias written out, for servers that know none."""
    lines = text.splitlines(keepends=True)
    anchors: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(lines):
        if named := _ANCHOR.search(line):
            end = number + 1
            while end < len(lines) and _depth(lines[end]) > _depth(line):
                end += 1
            anchors[named[1]] = line[named.end() :].rstrip("\n"), "".join(lines[number + 1 : end])

    def written(found: re.Match[str]) -> str:
        rest, below = anchors[found[2]]
        return f"- {below.lstrip()}" if found[1] == "- " else f"{found[1].rstrip()}{rest}{found[3]}{below}"

    while re.search(r"(- |: )\*\w", text):
        text = re.sub(r"(- |: )\*(\w+)([,}\n])", written, text)
    return re.sub(rf" ?{_ANCHOR.pattern}", "", re.sub(rf"(- ){_ANCHOR.pattern}\n +", r"\1", text))


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def caller_of(contracts: Sequence[ReadContract], top: Path, commit: str | None = None) -> Caller:
    """The caller for a contract, or for all of a repository.

    Args:
        contracts: their stages, branches, cadence and tags; several are called by one file.
        top: the top of the repository.
        commit: the kit's, which is called then; else its version is.
    """
    every = [contract.parts for contract in contracts]
    several = len(every) > 1
    crons = [cron for parts in every for cron in _crons(parts)]
    path = contracts[0].path.resolve().relative_to(top.resolve()).as_posix()
    stages = [(name, stage) for parts in every for name, stage in parts.stages.items()]
    return Caller(
        tuple(dict.fromkeys(stage.branch for _, stage in stages if stage.branch)),
        tuple(dict.fromkeys(name for name, _ in stages)),
        tuple(dict.fromkeys(crons)),
        path if path != CONTRACT and not several else None,
        "requirements.txt" if (top / "requirements.txt").is_file() else None,
        several or every[0].registry.tags == "named",
        tuple(parts.model.name for parts in every) if several else (),
        ref=commit or REF,
        version=REF if commit else None,
    )


def _crons(parts: Contract) -> tuple[str, ...]:
    """When a contract wants the report of its iteration: once, or never."""
    iteration = parts.iteration
    if iteration is None or not iteration.report:
        return ()
    return (iteration.cron or _CADENCES[iteration.cadence or "weekly"],)


def rendered() -> dict[str, str]:
    """Every rendered file of the kit, by its path in the repository."""
    files = composite_actions()
    walked = tuple(step for step in GRAPH if not step.asked)
    files[".github/workflows/ci.yml"] = render_template("ci.yml.j2", walked=walked)
    for name in ("codeql", "locks", "publish", "scorecard", "slow"):
        files[f".github/workflows/{name}.yml"] = render_template(f"{name}.yml.j2")
    files[".github/workflows/release.yml"] = _workflow("release")
    files[".github/workflows/checks.yml"] = _workflow("checks")
    files[".github/workflows/models.yml"] = _models(files[".github/workflows/release.yml"])
    workflows = [files[f".github/workflows/{name}.yml"] for name in ("release", "checks")]
    files["docs/how-to/github.md"] = _documentation(*workflows)
    files["docs/reference/actions.md"] = _actions()
    return files


def _documentation(release: str, checks: str) -> str:
    """The page on GitHub, its table of inputs and its count of jobs from the workflows themselves."""
    ours, theirs = yaml.safe_load(release), yaml.safe_load(checks)
    triggers = ours[True]  # YAML 1.1 reads the key `on` as true
    always = [
        name
        for part in (ours, theirs)
        for name, job in part["jobs"].items()
        if "always()" in job.get("if", "")
    ]
    demo = Caller(
        ("develop", "staging", "main"), ("alpha", "beta", "production"), crons=(_CADENCES["weekly"],)
    )
    return render_template(
        "github.md.j2",
        caller=render_caller(demo),
        workflow_inputs=triggers["workflow_call"]["inputs"],
        credentials=CREDENTIALS,
        signing=SIGNING,
        held=HELD,
        checks=len(CHECKS),
        around=len(["plan", *always]),
    )


def _actions() -> str:
    """The page on the actions, its tables from the same source as the actions themselves."""
    described = {step.name: (step.question, inputs_of(step), outputs_of_action(step)) for step in GRAPH}
    described |= {verb.name: (verb.description, verb.inputs, verb.outputs) for verb in VERBS.values()}
    described |= described_checks()
    rows = [
        {
            "name": name,
            "description": description,
            "inputs": ", ".join(f"`{given.name}`" for given in inputs),
            "outputs": ", ".join(f"`{output.name}`" for output in outputs),
        }
        for name, (description, inputs, outputs) in described.items()
    ]
    every: dict[str, Input] = {}
    for _, inputs, _ in described.values():
        for given in inputs:
            every.setdefault(given.name, given)  # as the steps of the walk describe it
    return render_template("actions.md.j2", actions=rows, inputs=list(every.values()), kit=KIT)


def _workflow(name: str) -> str:
    outward = name == "release"
    steps = tuple(step for step in GRAPH if step.outward == outward)
    around = ["baseline", "built", "count", "checks", "report"] if outward else ["shards", "folded"]
    only = "release" if outward else "checks"
    return render_template(
        f"{name}.yml.j2",
        inputs={key: given for key, given in _INPUTS.items() if given.get("only", only) == only},
        outputs=_outputs(),
        steps=steps,
        last_check=CHECKS[-1].name,
        before_shards=next(step for step in CHECKS if step.shared).needs[-1],
        all_jobs=[*around, *(step.name for step in steps)],
        needs_of=all_needs,
        unsafe=[step.name for step in CHECKS if step.unsafe_to_pass],
        credentials=CREDENTIALS,
        signing=SIGNING,
        held=HELD,
    )


def _outputs() -> dict[str, dict[str, str]]:
    """What a release tells whoever called it: what stands in its stage now, whichever job put it there."""
    putting = [step.name for step in GRAPH if step.outward and step.name != "publish"]
    held = " || ".join(f"jobs.{name}.outputs.held" for name in putting)
    values = {given.name: f"fromJSON({held} || '{{}}').{given.name}" for given in HELD}
    values["tag"] += " || jobs.publish.outputs.tag"
    return {given.name: {"description": given.description, "value": values[given.name]} for given in HELD}


def _models(release: str) -> str:
    """The workflow for several models: it calls the one for a model, and takes and grants what that takes and grants."""
    called = yaml.safe_load(release)
    grants: dict[str, str] = {}
    for job in called["jobs"].values():
        for scope, level in job["permissions"].items():
            grants[scope] = "write" if "write" in (level, grants.get(scope)) else level
    settings = called[True]["workflow_call"]  # YAML 1.1 reads the key `on` as true
    return render_template(
        "models.yml.j2",
        inputs={name: given for name, given in settings["inputs"].items() if name != "contract"},
        secrets=settings["secrets"],
        grants=grants,
        reasons=_REASONS,
        models=VERBS["models"],
        held=VERBS["held"],
    )


def main(arguments: Sequence[str]) -> int:
    """Write the rendered files into the checkout that this module lies in, or compare them with ``--check``."""
    top = Path(__file__).resolve().parents[3]
    drifted = {
        path: text
        for path, text in rendered().items()
        if not (top / path).is_file() or (top / path).read_text(encoding="utf-8") != text
    }
    if "--check" in arguments:
        sys.stderr.write(
            "".join(f"{path} has drifted from its template and the graph.\n" for path in drifted)
        )
        return 1 if drifted else 0
    for path, text in drifted.items():
        write_text(top / path, text)
        sys.stderr.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
