"""GitHub's files rendered from the graph of steps: one action a step, the reusable workflows, a consumer's caller.

``python -m gradatim.rendering.workflows`` writes them into a checkout of the kit, ``--check`` tells what has drifted.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gradatim.contract.reading import ReadContract
from gradatim.contract.schema import Contract
from gradatim.files import template_folder, write_text
from gradatim.pipeline.graph import CHECKS, GRAPH, STEPS
from gradatim.rendering.actions import (
    CONTRACT,
    CREDENTIALS,
    HELD,
    SIGNING,
    VERBS,
    Input,
    all_needs,
    inputs_of,
    leaves,
    outputs_of,
    runs_user_code,
)
from gradatim.rendering.jobs import Consumer
from gradatim.rendering.kit import REF, REPOSITORY
from gradatim.shard import MOST

KIT = REPOSITORY
"""What holds the actions and the reusable workflows."""

CALLER = ".github/workflows/release.yml"
"""Where a consumer's caller workflow lies."""

VENDORED = ".github/workflows"
"""Where copies of the kit's workflows lie in a consumer's repository: GitHub finds them nowhere else."""

PINS = {
    "attest": "1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2",
    "create-github-app-token": "fee1f7d63c2ff003460e3d139729b119787bc349 # v2.2.2",
    "checkout": "3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "setup-python": "5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0",
    "upload-artifact": "043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1",
    "download-artifact": "3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1",
    "cache": "55cc8345863c7cc4c66a329aec7e433d2d1c52a9 # v6.1.0",
}
"""Actions of others, each at a commit."""

_CADENCES = {
    "daily": "17 5 * * *",
    "weekly": "17 5 * * 1",
    "fortnightly": "17 5 1,15 * *",
    "monthly": "17 5 1 * *",
}
"""Not at the full hour, when GitHub drops scheduled runs."""

_REASONS = {
    "contents": "tags and evidence",
    "pull-requests": "one comment on a pull request",
    "id-token": "signatures in the name of this workflow",
    "actions": "who approved a promotion or a rollback",
}
"""What a grant of the workflow for a model is for."""


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
    return _render("caller.yml.j2", caller=caller, settings=settings, version=version)


def vendored(caller: Caller) -> dict[str, str]:
    """A caller and copies of the workflows that it calls, by path: for servers that do not know ``$/``.

    The copies call the kit's actions by owner and commit.
    """
    version = f" # {caller.version}" if caller.version else ""
    release = _workflow("release", outward=True)
    copies = {"release": release, **({"models": _models(release)} if caller.models else {})}
    files = {}
    for name, text in copies.items():
        text = re.sub(r"uses: \$/(actions/\S+)", rf"uses: {caller.kit}/\1@{caller.ref}{version}", text)
        text = text.replace(
            "uses: $/.github/workflows/release.yml", f"uses: ./{VENDORED}/gradatim-release.yml"
        )
        head, _, body = text.partition("\n")
        files[f"{VENDORED}/gradatim-{name}.yml"] = (
            f"{head.partition('. Do not edit')[0]}, for servers without `$/`.\n{body}"
        )
    called = "models" if caller.models else "release"
    ours = f"uses: {caller.kit}/.github/workflows/{called}.yml@{caller.ref}{version}"
    files[CALLER] = render_caller(caller).replace(ours, f"uses: ./{VENDORED}/gradatim-{called}.yml")
    return files


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
    files = {
        f"actions/{step.name}/action.yml": _render(
            "action.yml.j2",
            step=step,
            inputs=inputs_of(step),
            outputs=outputs_of(step),
            user_code=runs_user_code(step),
            transport=not step.asked,
            leaves=leaves(step),
            command=_command(f"gradatim {step.name}", inputs_of(step)),
        )
        for step in GRAPH
    }
    for verb in VERBS.values():
        command = _command(f"gradatim ci {verb.name}", verb.inputs)
        files[f"actions/{verb.name}/action.yml"] = _render(
            "verb.yml.j2",
            verb=verb,
            command=command,
            extras=any(given.name == "extras" for given in verb.inputs),
        )
    files["actions/setup/action.yml"] = _render("setup.yml.j2")
    given = tuple(given for given in inputs_of(CHECKS[-1]) if given.name != "needs")
    files["action.yml"] = _render("root.yml.j2", inputs=given, last_check=CHECKS[-1].name)
    walked = tuple(step for step in GRAPH if not step.asked)
    files[".github/workflows/ci.yml"] = _render("ci.yml.j2", walked=walked)
    for name in ("locks", "publish"):
        files[f".github/workflows/{name}.yml"] = _render(f"{name}.yml.j2")
    files[".github/workflows/release.yml"] = _workflow("release", outward=True)
    files[".github/workflows/checks.yml"] = _workflow("checks", outward=False)
    files[".github/workflows/models.yml"] = _models(files[".github/workflows/release.yml"])
    files["docs/how-to/github.md"] = _documentation(files[".github/workflows/release.yml"])
    files["docs/reference/actions.md"] = _actions()
    return files


def _documentation(workflow: str) -> str:
    """The page on GitHub, its table of inputs from the workflow itself."""
    triggers = yaml.safe_load(workflow)[True]  # YAML 1.1 reads the key `on` as true
    demo = Caller(
        ("develop", "staging", "main"), ("alpha", "beta", "production"), crons=(_CADENCES["weekly"],)
    )
    return _render(
        "github.md.j2",
        caller=render_caller(demo),
        workflow_inputs=triggers["workflow_call"]["inputs"],
        credentials=CREDENTIALS,
        signing=SIGNING,
        held=HELD,
    )


def _actions() -> str:
    """The page on the actions, its tables from the same source as the actions themselves."""
    described = {step.name: (step.question, inputs_of(step), outputs_of(step)) for step in GRAPH}
    described |= {verb.name: (verb.description, verb.inputs, verb.outputs) for verb in VERBS.values()}
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
    return _render("actions.md.j2", actions=rows, inputs=list(every.values()), kit=KIT)


def _workflow(name: str, *, outward: bool) -> str:
    outward_steps = tuple(step for step in GRAPH if step.outward and not step.asked)
    asked = tuple(step for step in GRAPH if step.asked)
    jobs = [step.name for step in CHECKS] + ["folded"]
    jobs += [f"{step.name}-shards" for step in CHECKS if step.shared]
    jobs += (
        [step.name for step in (*outward_steps, *asked)] + ["baseline", "count", "report"] if outward else []
    )
    return _render(
        "workflow.yml.j2",
        name=name,
        outward=outward,
        plan=VERBS["plan"],
        checks=CHECKS,
        last_check=CHECKS[-1].name,
        outward_steps=outward_steps,
        asked_steps=asked,
        all_jobs=jobs,
        needs_of=all_needs,
        inputs_of=inputs_of,
        outputs_of=outputs_of,
        credentials=(*CREDENTIALS, *SIGNING),
        held=HELD,
        fetching=[given for given in VERBS["baseline"].inputs if given in CREDENTIALS],
        steps=STEPS,
        most_shards=MOST,
    )


def _models(release: str) -> str:
    """The workflow for several models: it calls the one for a model, and takes and grants what that takes and grants."""
    called = yaml.safe_load(release)
    grants: dict[str, str] = {}
    for job in called["jobs"].values():
        for scope, level in job["permissions"].items():
            grants[scope] = "write" if "write" in (level, grants.get(scope)) else level
    settings = called[True]["workflow_call"]  # YAML 1.1 reads the key `on` as true
    return _render(
        "models.yml.j2",
        inputs={name: given for name, given in settings["inputs"].items() if name != "contract"},
        secrets=settings["secrets"],
        grants=grants,
        reasons=_REASONS,
        models=VERBS["models"],
    )


def _command(start: str, inputs: Sequence[Input]) -> str:
    return " ".join([start, *(given.argument for given in inputs if given.argument)])


def _render(template: str, **values: Any) -> str:
    text: str = _templates().get_template(template).render(pins=PINS, **values)
    return text


def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(  # noqa: S701 (YAML, not HTML: values are quoted where they need it)
        loader=FileSystemLoader(template_folder("github")),
        undefined=StrictUndefined,
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["quoted"] = _quoted
    made.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return made


def _quoted(value: str) -> str:
    """A YAML scalar: plain where that is safe, else in double quotes."""
    plain = re.fullmatch(r"[A-Za-z][\w./-]*|\$\{\{ [\w.]+ \}\}", value)
    ambiguous = value.lower() in ("true", "false", "yes", "no", "on", "off", "null")
    return value if plain and not ambiguous else json.dumps(value, ensure_ascii=False)


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
