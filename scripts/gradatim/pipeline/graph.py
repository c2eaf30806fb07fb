"""The release as a graph of steps. Every walk over it, on a laptop or rendered into a CI template, reads this one list."""

from __future__ import annotations

from dataclasses import dataclass

from gradatim.errors import UsageError


@dataclass(frozen=True)
class Step:
    """One piece of work: one CI job, one action, one command, one file in ``steps/``, all of this name.

    Attributes:
        name: its name everywhere.
        question: the question it answers, for help texts and job names.
        needs: steps whose evidence it reads.
        alone: whether other steps on the same machine would spoil its measurements.
        outward: whether it changes something outside the workspace (tags, a registry, a publisher).
        unsafe_to_pass: whether going on after its refusal would be unsafe or impossible.
        asked: runs only when asked for by name, never as part of a walk.
        heavy: whether it runs the model for long, and so may have a runner of its own.
        shared: whether several jobs may share its rows out among themselves, for it to merge what they leave.
        measures: whether it leaves measurements that gates judge.
        dated: whether its evidence speaks of a moment (the data and the baseline of then), and so may grow too old.
        counted: whether it is a use of the evaluation data, which is counted first where the contract asks for that.
        signs: whether it makes a release, and so may sign one.
        junit: the file of test results that it leaves, empty where it leaves none.
    """

    name: str
    question: str
    needs: tuple[str, ...] = ()
    alone: bool = False
    outward: bool = False
    unsafe_to_pass: bool = False
    asked: bool = False
    heavy: bool = False
    shared: bool = False
    measures: bool = False
    dated: bool = False
    counted: bool = False
    signs: bool = False
    junit: str = ""


GRAPH: tuple[Step, ...] = (
    Step("build", "Make the model when it is not committed.", unsafe_to_pass=True),
    Step(
        "inspect",
        "Look inside the model without running it.",
        ("build",),
        unsafe_to_pass=True,
        measures=True,
    ),
    Step(
        "compress",
        "Search for a smaller, faster form that keeps the quality.",
        ("inspect",),
        heavy=True,
        measures=True,
    ),
    Step(
        "test",
        "Does it behave: golden outputs, determinism, batches, corruptions?",
        ("compress",),
        heavy=True,
        shared=True,
        measures=True,
        dated=True,
        junit="test.xml",
    ),
    Step(
        "evaluate",
        "How good is it, beside the release that it would replace?",
        ("compress",),
        heavy=True,
        shared=True,
        measures=True,
        dated=True,
        counted=True,
    ),
    Step(
        "benchmark",
        "How fast is it, beside the release that it would replace?",
        ("compress",),
        heavy=True,
        alone=True,
        measures=True,
        dated=True,
    ),
    Step(
        "gate",
        "Is everything proven that the contract asks for?",
        ("test", "evaluate", "benchmark"),
        dated=True,
        junit="gates.xml",
    ),
    Step("tag", "Give the proven candidate its version, on the remote.", ("gate",), outward=True, signs=True),
    Step("publish", "Put the tagged release where its users find it.", ("tag",), outward=True),
    Step("promote", "Move a release one stage up, the same bytes.", outward=True, asked=True, signs=True),
    Step("rollback", "Put a stage back to its last good release.", outward=True, asked=True),
)

STEPS: dict[str, Step] = {step.name: step for step in GRAPH}

CHECKS = tuple(step for step in GRAPH if not step.outward)
"""Steps that change nothing outside; their evidence is what a release carries and a report shows."""

MEASURING = tuple(step.name for step in GRAPH if step.measures)
DATED = tuple(step.name for step in GRAPH if step.dated)


def walk_order(until: str | None = None, only: tuple[str, ...] = ()) -> tuple[Step, ...]:
    """The steps of a walk, each after all that it needs.

    Args:
        until: the last step wanted, with all that it needs.
        only: just these steps; their needs are taken from the workspace.

    Raises:
        UsageError: a step that does not exist or is only run by name.
    """
    for name in (*only, *((until,) if until else ())):
        if name not in STEPS or STEPS[name].asked:
            walked = ", ".join(step.name for step in GRAPH if not step.asked)
            raise UsageError(f"There is no step `{name}` in a run. The steps are: {walked}.")
    walked_steps = tuple(step for step in GRAPH if not step.asked)
    if only:
        return tuple(step for step in walked_steps if step.name in only)
    if until:
        wanted = _with_needs(until)
        return tuple(step for step in walked_steps if step.name in wanted)
    return walked_steps


def groups(steps: tuple[Step, ...]) -> list[tuple[Step, ...]]:
    """Steps that may run side by side, group after group; a step that must be alone is a group of its own."""
    done: set[str] = set()
    left = list(steps)
    result: list[tuple[Step, ...]] = []
    wanted = {step.name for step in steps}
    while left:
        ready = [step for step in left if done >= set(step.needs) & wanted]
        together = tuple(step for step in ready if not step.alone)
        result += [together] if together else [(ready[0],)]
        done |= {step.name for step in result[-1]}
        left = [step for step in left if step.name not in done]
    return result


def _with_needs(name: str) -> set[str]:
    return {name}.union(*(_with_needs(need) for need in STEPS[name].needs))
