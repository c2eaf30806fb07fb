"""The composite actions of the kit: one a step, one for any of the checks, one for all of them, one a verb around them."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.pipeline.graph import CHECKS, GRAPH, Step
from gradatim.rendering.actions import (
    CHECK,
    PART,
    PLANNED,
    STEP,
    VERBS,
    Input,
    Output,
    Verb,
    inputs_of,
    leaves,
    outputs_of,
    outputs_of_action,
    runs_user_code,
)
from gradatim.rendering.github_templates import render_template

_ALL = "Run every check that the contract of a machine-learning model asks for, in one step; nothing is tagged or published."
_BESIDE = {"plan", "needs", "before"}
"""Inputs of jobs among others."""


def composite_actions() -> dict[str, str]:
    """Every action of the kit, by its path in the repository."""
    found = {"setup": render_template("setup.yml.j2")}
    found |= {step.name: _step(step) for step in GRAPH}
    found |= {verb.name: _verb(verb) for verb in VERBS.values()}
    found["step"] = _any_check()
    found["checks"] = _all_checks(alone=False)
    files = {f"actions/{name}/action.yml": text for name, text in found.items()}
    return {**files, "action.yml": _all_checks(alone=True)}


def described_checks() -> dict[str, tuple[str, tuple[Input, ...], tuple[Output, ...]]]:
    """What each action that is more than one step says, takes and gives."""
    shared = next(step for step in CHECKS if step.shared)
    any_of_them = tuple(PART if given.name == "shard" else given for given in inputs_of(shared))
    return {
        "step": (CHECK, (STEP, *any_of_them), outputs_of(shared)),
        "checks": (_ALL, inputs_of(CHECKS[-1]), outputs_of(CHECKS[-1])),
    }


def _step(step: Step) -> str:
    return _action(
        step.name,
        step.question,
        inputs_of(step),
        outputs_of_action(step),
        command=f"gradatim {step.name}",
        code=runs_user_code(step),
        takes_over=not step.asked,
        leaves=leaves(step),
        shows="true" if step is CHECKS[-1] else "",
    )


def _any_check() -> str:
    description, inputs, outputs = described_checks()["step"]
    shows = f"inputs.step == '{CHECKS[-1].name}'"
    return _action(
        "step",
        description,
        inputs,
        outputs,
        command="gradatim",
        code=True,
        takes_over=True,
        leaves=True,
        left="github.job",
        shows=shows,
    )


def _all_checks(*, alone: bool) -> str:
    last = CHECKS[-1]
    description, inputs, outputs = described_checks()["checks"]
    return _action(
        "checks",
        description,
        [given for given in inputs if not (alone and given.name in _BESIDE)],
        [given for given in outputs if given.name == "verdict" or not alone],
        command=f"gradatim run --until {last.name}",
        code=True,
        takes_over=not alone,
        leaves=not alone,
        left=f"'{last.name}'",
        shows="true",
        alone=alone,
    )


def _verb(verb: Verb) -> str:
    return _action(
        verb.name,
        verb.description,
        verb.inputs,
        verb.outputs,
        command=f"gradatim ci {verb.name}",
        code=False,
        takes_over=verb.takes_over,
        leaves=verb.leaves,
    )


def _action(
    name: str,
    description: str,
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    *,
    command: str,
    left: str = "",
    shows: str = "",
    alone: bool = False,
    code: bool,
    **more: bool,
) -> str:
    """One file.

    Args:
        left: what the job leaves is called so, as an expression; after the action when left out.
        code: whether it runs code of the repository.
        shows: the condition under which the report is shown on the page of the run; empty: never.
        alone: whether it stands at the top of the repository and shares a workspace with no other job.
    """
    given = {one.name: one for one in inputs}
    values = {key: one.value(given) for key, one in given.items()}
    whole = left or f"'{name}'"
    part = next((one.value(given) for one in inputs if one.name in ("shard", "part")), "")
    step = values.get("step", f"'{name}'")
    if code and "plan" in given:  # a job on a GPU needs others
        there = f"contains({PLANNED}.on-gpu, {step}) && {PLANNED}.gpu-extras"
        values["extras"] = f"{there} || {values['extras']}"
    if part:
        whole = f"{part} && format('{{0}}-{{1}}', {step}, {part}) || {whole}"
    return render_template(
        "action.yml.j2",
        name=name,
        description=description,
        inputs=inputs,
        values=values,
        outputs=outputs,
        command=" ".join([command, *(one.argument for one in inputs if one.argument)]),
        left=_filled(whole),
        part=part,
        step=_filled(step),
        shows=shows,
        alone=alone,
        code=code,
        keeps=any(one.name == "report" for one in outputs),
        **more,
    )


def _filled(expression: str) -> str:
    """An expression as a value: plain where it is a plain word."""
    return (
        expression.strip("'")
        if expression.count("'") == 2 and expression[0] == "'"
        else f"${{{{ {expression} }}}}"
    )
