"""gradatim STEP: one step of the graph, as a CI job runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from gradatim.commands import options
from gradatim.errors import GradatimError
from gradatim.pipeline.graph import STEPS

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.pipeline.step import StepRun
    from gradatim.shard import Shard

_EXAMPLES = {
    "build": ("gradatim build", "gradatim build --force     build again although nothing changed"),
    "inspect": ("gradatim inspect", "gradatim inspect --json | jq .verdict"),
    "compress": ("gradatim compress", "gradatim compress --force  search again"),
    "test": ("gradatim test --stage beta", "gradatim test --shard 2/4  the robustness of the second quarter"),
    "evaluate": (
        "gradatim evaluate --contract models/digits/gradatim.yml",
        "gradatim evaluate --shard 2/4  the second quarter of the rows, for a later `evaluate` to merge",
    ),
    "benchmark": (
        "gradatim benchmark",
        "gradatim benchmark --force  measure again on this machine",
        "gradatim benchmark --profile",
    ),
    "gate": (
        "gradatim gate",
        "gradatim gate --plan       what each gate needs and can detect, before anything runs",
    ),
    "tag": ("gradatim tag --dry-run", "gradatim tag --version 2.0.0"),
    "publish": ("gradatim publish --dry-run", "gradatim publish"),
}


def command(name: str) -> click.Command:
    """The command of one step of the walk, or of a step that is only run by name."""
    if name == "promote":
        from gradatim.commands.promote import command as promote

        return promote
    if name == "rollback":
        from gradatim.commands.rollback import command as rollback

        return rollback
    step = STEPS[name]

    def callback(**arguments: Any) -> int:
        return _run(name, **arguments)

    examples = "\n".join(f"  {line}" for line in _EXAMPLES[name])
    needs = f"It reads what {_listed(step.needs)} left in .gradatim/. " if step.needs else ""
    skip = "" if step.outward else "Skipped when nothing that it depends on has changed; --force runs it."
    made = click.command(
        name, short_help=step.question, help=f"{step.question}\n\n{needs}{skip}\n\n\b\nExamples:\n{examples}"
    )
    return made(_options(name)(callback))


def _listed(names: Sequence[str]) -> str:
    *most, last = (f"`{name}`" for name in names)
    return f"{', '.join(most)} and {last}" if most else last


def _options(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (options.as_json, options.stage, options.contract):
            function = option(function)
        if not STEPS[name].outward:
            function = click.option("--force", is_flag=True, help="Run even when nothing changed.")(function)
        else:
            function = options.dry_run(function)
        if name == "gate":
            text = "Say how many samples each gate needs and what it can detect, before anything runs."
            function = click.option("--plan", is_flag=True, help=text)(function)
        if name == "benchmark":
            text = "Say which operators are dearest, too, by the profiler of PyTorch or ONNX Runtime; its traces are left in .gradatim/profile/."
            function = click.option("--profile", is_flag=True, help=text)(function)
        if name == "tag":
            function = options.version(function)
        if STEPS[name].shared:
            text = "Do one part of the rows, as in 2/4, and leave it in .gradatim/; the step without this option merges them."
            function = click.option("--shard", metavar="I/N", callback=_shard, help=text)(function)
        return function

    return decorate


def _shard(_context: click.Context, _option: click.Parameter, given: str | None) -> Shard | None:
    from gradatim.shard import Shard

    return None if given is None else Shard.parse(given)


def _run(
    name: str,
    contract_path: str | None,
    stage: str | None,
    json_wanted: bool,
    force: bool = False,
    dry_run: bool = False,
    plan: bool = False,
    profile: bool = False,
    version: str | None = None,
    shard: Shard | None = None,
) -> int:
    from gradatim.commands.opening import open_candidate
    from gradatim.pipeline.step import run_shard, run_step

    candidate = open_candidate(contract_path, stage)
    candidate.wanted_version = version
    if plan:
        from gradatim.commands.plan import show_plan

        return show_plan(candidate, json_wanted=json_wanted)
    if dry_run:
        from gradatim.commands.intention import show_intention

        return show_intention(name, candidate, json_wanted=json_wanted)
    try:
        done = (
            run_shard(name, candidate, shard, force=force)
            if shard
            else run_step(name, candidate, force=force)
        )
    except GradatimError:
        _show_log(name, candidate)
        raise
    if not done.skipped:
        _show_log(name, candidate)
    record = done.to_json(candidate.contract.path.name)
    if profile:
        record["profile"] = _profile(candidate, json_wanted=json_wanted)
    if json_wanted:
        options.print_json(record)
    else:
        from gradatim.commands.display import step_lines
        from gradatim.pipeline.walk import StepResult

        status = "skipped" if done.skipped else "done"
        result = StepResult(
            name, status, done.code, done.statement.verdict.value, done.summary, done.seconds, record
        )
        click.echo(candidate.platform.harmless("\n".join(step_lines(result))))
    if not done.skipped or name == "gate":
        _tell_platform(name, candidate, done, record)
    return done.code


def _profile(candidate: Candidate, *, json_wanted: bool) -> list[dict[str, Any]]:
    """Profile every form, and say which of its operators is dearest."""
    from gradatim.evidence.codec import encode
    from gradatim.steps.benchmark import profile_forms

    found = profile_forms(candidate)
    for one in () if json_wanted else found:
        dearest = one.operators[0]
        said = f"{dearest.name} takes {100 * dearest.share:.0f} % of a call; {one.trace}"
        click.echo(candidate.platform.harmless(options.row("  profile    ", f"{one.name}: {said}")))
    return [encode(one) for one in found]


def _show_log(name: str, candidate: Candidate) -> None:
    """What the team's own programs printed, where a step kept it."""
    for log in candidate.workspace.logs(name):
        candidate.platform.show(log.name, log.read_text(encoding="utf-8", errors="replace"))


def _tell_platform(name: str, candidate: Candidate, done: StepRun, record: dict[str, Any]) -> None:
    """Outputs and annotations, where there is a CI system to hear them."""
    for refusal in record["refusals"]:
        options.refuse(candidate, refusal)
    where = {"stage": candidate.stage or ""} if "tag" in done.outputs else {}
    if name == "publish":
        released = candidate.registry.find(done.outputs["tag"], candidate.name)
        where["report"] = options.report_of(candidate, str(released.manifest), str(released.version))
    candidate.platform.output({"verdict": done.statement.verdict.value, **done.outputs, **where})
    if STEPS[name].outward:  # the statement of a shard bears its part in its step's name
        options.summarise(candidate, name, done.summary)
