"""What an event asks for: which work, for which stage, on which runner. Decided here, so that no workflow has to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from gradatim.ci.platform import Place
from gradatim.contract.model_formats import extra_of, on_gpu
from gradatim.contract.schema import HEAVY, Contract, Runner
from gradatim.contract.stores import STORES
from gradatim.errors import UsageError
from gradatim.registry import tags
from gradatim.shard import shards

Jobs = Literal["split", "folded"]
RunsOn = tuple[str, ...] | dict[str, Any]
Kind = Literal["check", "release", "publish", "promote", "rollback", "report", "nothing"]


@dataclass(frozen=True)
class Occasion:
    """What is to be done now.

    Attributes:
        kind: check a candidate, release it, publish a tag, promote, roll back, report, or nothing.
        stage: the stage it is for; None where none belongs to the branch.
        environment: the deployment environment of that stage.
        runner: of the one job of all checks, as `runs-on` takes it.
        runners: for each step that may have a runner of its own: its labels, or its group and labels, as `runs-on` takes them.
        extras: extras of the kit that the checks need; the baseline may lie at a publisher.
        guard: the environment whose reviewers let the timing of a pull request onto its runner; empty where none is asked.
        on_gpu: the jobs that go to a GPU, and so need others of them: steps, or ``checks`` where one job does all.
        publishers: extras of the kit that publishing and signing need.
        name: the model's name.
        fetched: whether the baseline may lie where only credentials lead.
        counted: whether the use of the evaluation data is to be counted before it is evaluated.
        built: whether the model is built before that, for the count is of its bytes.
        jobs: ``split`` for a job a step, ``folded`` for one job of all checks.
        shards: the parts that share the rows of a step, by its name; none when nobody shares them.
    """

    kind: Kind
    stage: str | None
    environment: str | None
    runner: RunsOn
    extras: tuple[str, ...]
    publishers: tuple[str, ...]
    name: str
    fetched: bool = False
    counted: bool = False
    built: bool = False
    jobs: Jobs = "split"
    shards: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    runners: Mapping[str, RunsOn] = field(default_factory=dict)
    on_gpu: tuple[str, ...] = ()
    guard: str = ""

    def plan(self) -> dict[str, Any]:
        """As one JSON object, which the jobs of a workflow read."""
        return {
            "kind": self.kind,
            "checks": self.kind in ("check", "release"),
            "name": self.name,
            "stage": self.stage or "",
            "environment": self.environment or "",
            "runner": self.runner,
            **{f"{step}-runner": where for step, where in self.runners.items()},
            "guard": self.guard,
            "extras": ",".join(self.extras),
            "on-gpu": self.on_gpu,
            "gpu-extras": ",".join(on_gpu(self.extras)) if self.on_gpu else "",
            "publishers": ",".join(self.publishers),
            "fetch": self.fetched,
            "count": self.counted,
            "built": self.built,
            "jobs": self.jobs,
            "shards": [
                {"step": step, "shard": part, "runner": self.runners[step]}
                for step, parts in self.shards.items()
                for part in parts
            ],
        }


def occasion(
    contract: Contract,
    place: Place,
    event_name: str,
    event: Mapping[str, Any],
    runner: str,
    jobs: str = "split",
    *,
    committed: bool = False,
    guarded: Callable[[str], bool] = lambda environment: False,
) -> Occasion:
    """Read an event of GitHub in the light of the contract.

    Args:
        contract: the stages, their branches, environments and runners.
        place: branch, tag and target, as the CI system tells them.
        event_name: ``push``, ``pull_request``, ...
        event: the event's payload.
        runner: where jobs run whose stage declares no runner.
        jobs: ``split`` or ``folded``, as the caller wishes; a model that is built and then counted needs a job for each.
        committed: whether git holds the model, so that nothing is built.
        guarded: whether an environment holds a job back until a reviewer approves.

    Raises:
        UsageError: a dispatch asks for something that does not exist, or the event is of no use.
    """
    if jobs not in ("split", "folded"):
        raise UsageError(f"The input `jobs` takes `split` or `folded`, not {jobs!r}.")
    kind, stage = _kind_and_stage(contract, place, event_name, event)
    rung = contract.stages.get(stage or "")
    trusted = event_name in ("push", "schedule", "workflow_dispatch") and not place.fork
    named = {step: contract.runner_of(step, stage) if trusted else None for step in HEAVY}
    timed = contract.runner_of("benchmark", stage)
    guard = (contract.runners[timed].environment if timed and not place.fork else None) or ""
    guard = guard if event_name in ("pull_request", "merge_group") and guard and guarded(guard) else ""
    named |= {"benchmark": timed} if guard else {}
    where = {name: _runs_on(contract.runners[name]) if name else (runner,) for name in named.values()}
    runners = {step: where[name] for step, name in named.items()}
    environment = (rung.environment or stage) if rung else None
    places = [STORES[place.kind] for place in contract.publish.to]
    needed = {place.extra for place in places if place.extra}
    extras = tuple(sorted({*extras_of(contract), *needed}))
    publishers = tuple(sorted({*needed, "sign"} if contract.signing else needed))
    wanted = contract.data.uses is not None and contract.data.evaluation is not None
    checked = kind in ("check", "release") and not place.fork
    built = wanted and contract.model.build is not None and not committed
    apart = jobs == "split" or built
    apart = apart or len(where) > 1  # one job is on one runner
    steps = [step for step, name in named.items() if name and contract.device_of(step, stage) != "cpu"]
    return Occasion(
        kind,
        stage,
        environment,
        (runner,) if len(where) > 1 else next(iter(where.values())),
        extras,
        publishers,
        contract.model.name,
        checked and any(place.credentials for place in places),  # a forge takes the job's own token
        checked and wanted,
        checked and built,
        "split" if apart else "folded",
        shards_of(contract),
        runners,
        tuple(steps if apart else ["checks"] * bool(steps)),
        guard,
    )


def _runs_on(runner: Runner) -> RunsOn:
    """As `runs-on` of GitHub takes it."""
    labels = tuple(runner.labels)
    if runner.group is None:
        return labels
    return {"group": runner.group, **({"labels": labels} if labels else {})}


def shards_of(contract: Contract) -> dict[str, tuple[str, ...]]:
    """The parts that share the rows of each step that has any: ``2-of-4``; none where one job does them all."""
    parts = tuple(part.folder for part in shards(contract.jobs_that_share))
    return {
        step: parts if len(parts) > 1 and contract.can_share(step) else () for step in ("evaluate", "test")
    }


def extras_of(contract: Contract) -> tuple[str, ...]:
    """The extras of the kit that a contract's model, data and tests need, on a processor."""
    model = contract.model
    extras = {extra_of(model.path, model.opened_as) or "checks"}
    for data in (contract.data.evaluation, contract.data.calibration):
        if data is not None:
            parquet = data.format == "parquet" or data.path.lower().endswith(".parquet")
            folder = data.format == "folder" or (not PurePosixPath(data.path).suffix and ":" not in data.path)
            extras |= {"parquet"} if parquet else {"image"} if folder else set()
    if contract.lineage is not None and contract.lineage.kind != "file":
        extras.add(contract.lineage.kind)
    if contract.task is not None and contract.task.scorers:
        extras.add("text")
    if contract.compress is not None:
        extras |= {"onnx", "torch"} if contract.compress.student else {"onnx"}
    if model.adapter is not None:
        extras.add("peft")
    if contract.test.pytest:
        extras.add("test")
    if contract.evaluate.explain:
        extras.add("explain")
    if contract.engine == "ray":
        extras.add("ray")
    load = contract.benchmark.load
    if load is not None:
        extras |= {*(["load"] if load.by_loadgen else []), *(["locust"] if load.locustfile else [])}
    return tuple(sorted(extras))


def _kind_and_stage(
    contract: Contract, place: Place, event_name: str, event: Mapping[str, Any]
) -> tuple[Kind, str | None]:
    if event_name == "workflow_dispatch":
        return _asked(contract, event.get("inputs") or {})
    if event_name == "schedule":
        return "report", None
    if event_name in ("pull_request", "merge_group"):
        return "check", _stage_of_branch(contract, place.target or place.branch)
    if event_name == "push":
        if event.get("deleted"):
            return "nothing", None
        if place.tag is not None:
            return _tagged(contract, place.tag)
        stage = _stage_of_branch(contract, place.branch)
        return ("release" if stage else "check"), stage
    raise UsageError(
        f"The event `{event_name}` is of no use to a release. Use pull_request, merge_group, push, schedule or "
        "workflow_dispatch; never pull_request_target, which would run a fork's code with this repository's rights."
    )


def _asked(contract: Contract, inputs: Mapping[str, Any]) -> tuple[Kind, str]:
    wanted, stage = str(inputs.get("do") or ""), str(inputs.get("stage") or "")
    if wanted not in ("promote", "rollback"):
        raise UsageError(f"A dispatch does `promote` or `rollback`, not {wanted!r}.")
    if stage not in contract.stages:
        raise UsageError(f"There is no stage {stage!r} in the contract. Known: {', '.join(contract.stages)}.")
    if wanted == "rollback" and not str(inputs.get("reason") or "").strip():
        raise UsageError("A rollback needs a reason that a reader of the history will understand.")
    return ("promote" if wanted == "promote" else "rollback"), stage


def _tagged(contract: Contract, tag: str) -> tuple[Kind, str | None]:
    said = tags.parse(tag)
    mine = said is not None and said.model in (None, contract.model.name)
    if said is None or said.action != "register" or said.version is None or not mine:
        return "nothing", None
    suffix = said.version.suffix
    ladder = tuple(contract.stages)
    for name, stage in contract.stages.items():
        own = stage.tag if stage.tag is not None else "" if name == ladder[-1] else name
        if own == suffix:
            return "publish", name
    return "publish", None if suffix else ladder[-1]


def _stage_of_branch(contract: Contract, branch: str | None) -> str | None:
    return next(
        (name for name, stage in contract.stages.items() if stage.branch and stage.branch == branch), None
    )
