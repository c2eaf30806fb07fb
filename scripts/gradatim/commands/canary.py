"""gradatim canary: a candidate beside the release that it would replace, on traffic."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.checks.live import Glance, Progression
    from gradatim.checks.prometheus import Prometheus, Series


@click.command("canary", short_help="Prove a candidate on traffic, recorded or live.")
@click.argument("version", metavar="[VERSION]", required=False)
@click.option("--replay", "recording", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Recorded requests: JSON lines, an access log with bodies, or a HAR file.")  # fmt: skip
@click.option("--prometheus", "url", metavar="URL", help="Where live requests are counted; the steps are 5, 25, 50 and 100 %.")  # fmt: skip
@click.option("--shift", metavar="COMMAND", help="With --prometheus: gives the candidate `{percent}` per cent of the traffic.")  # fmt: skip
@click.option("--requests", metavar="NAME", help="The counter of requests. Default: http_requests_total.")
@click.option("--failed", metavar="MATCHERS", help="What makes it count failed requests. Default: code=~\"5..\".")  # fmt: skip
@click.option("--latency", metavar="NAME", help="The histogram of seconds. Default: http_request_duration_seconds.")  # fmt: skip
@click.option("--label", metavar="LABEL", help="The label that holds the version. Default: version.")
@click.option("--every", metavar="SECONDS", type=click.FloatRange(min=0.1), default=30, show_default=True, help="Between two looks.")  # fmt: skip
@click.option("--stale", metavar="SECONDS", type=click.FloatRange(min=1), default=120, show_default=True, help="A sample older than this proves nothing; more than two intervals between scrapes.")  # fmt: skip
@click.option("--patience", metavar="SECONDS", type=click.FloatRange(min=0), default=3600, show_default=True, help="Stop after so long in one step; 0 looks once. The same command goes on.")  # fmt: skip
@click.option("--roll-back", is_flag=True, help="With --replay: where a gate is broken and the stage holds VERSION, put the stage back.")  # fmt: skip
@click.option("--force", is_flag=True, help="Begin anew, whatever was done before.")
@options.stage
@options.contract
@options.as_json
def command(
    version: str | None,
    recording: Path | None,
    url: str | None,
    shift: str | None,
    every: float,
    stale: float,
    patience: float,
    roll_back: bool,
    force: bool,
    stage: str | None,
    contract_path: str | None,
    json_wanted: bool,
    **named: str | None,
) -> int:
    """Judge errors, agreement and latency of a candidate beside the release that it would replace, by the gates under `canary`.

    --replay sends recorded requests through both: VERSION, or the model here; with --roll-back a stage that holds a version
    which is proven worse is put back, and what was deployed there with it. --prometheus reads what both versions did on
    live traffic, step by step: VERSION, or what the stage holds; where a gate is broken, the stage is rolled back.
    Without traffic nothing ever passes. What was killed in the middle goes on where it was.

    \b
    Examples:
      gradatim canary --replay requests.jsonl
      gradatim canary v1.1.0 --replay access.log.jsonl --stage production
      gradatim canary v1.2.0 --replay today.jsonl --stage production --roll-back
      gradatim canary --prometheus http://127.0.0.1:9090 --stage production --shift "./split.sh {percent}"
    """
    from gradatim.checks.prometheus import Prometheus, Series
    from gradatim.commands.opening import open_candidate
    from gradatim.errors import UsageError

    if (recording is None) == (url is None):
        raise UsageError(
            "Name the traffic: --replay FILE for recorded requests, or --prometheus URL for live ones."
        )
    if roll_back and (recording is None or version is None or stage is None):
        raise UsageError(
            "--roll-back belongs to --replay, and wants VERSION and --stage: which one is out, and where."
        )
    candidate = open_candidate(contract_path, stage)
    if recording is not None:
        return _replayed(candidate, version, recording, force, roll_back, json_wanted)
    series = Series(**{name: value for name, value in named.items() if value is not None})
    canary = _Live(
        candidate, Prometheus(str(url), max_age=stale), series, shift, every, patience, json_wanted
    )
    return canary.run(version, force)


def _replayed(
    candidate: Candidate,
    version: str | None,
    recording: Path,
    force: bool,
    roll_back: bool,
    json_wanted: bool,
) -> int:
    from gradatim.checks.canary import judge_replay, rules_of
    from gradatim.checks.replay import replay, sides_of
    from gradatim.checks.requests import read_requests
    from gradatim.files import digest_of, sha256_file
    from gradatim.gates.verdict import Verdict

    baseline, mine = sides_of(candidate, version)
    requests = read_requests(recording)
    told = {"requests": sha256_file(recording), "baseline": baseline.digest, "candidate": mine.digest}
    candidate.workspace.prepare()
    record = candidate.workspace.folder / "canary" / f"{digest_of(told)[:16]}.jsonl"
    if force:
        record.unlink(missing_ok=True)
    with candidate.progress.task("canary", len(requests)) as advance:
        exchanges = replay(requests, baseline, mine, record, told, advance)
    results = judge_replay(rules_of(candidate.contract, candidate.stage), exchanges, baseline.label)
    verdict = Verdict.worst(result.verdict for result in results)
    first = next((exchange.error for exchange in exchanges if exchange.candidate is None), "")
    broken = [result.text for result in results if result.verdict is Verdict.FAIL]
    undone = None
    if roll_back and verdict is Verdict.FAIL:  # requests that the release itself cannot take prove nothing
        reason = f"canary on {recording.name}: {' '.join(broken)}"
        undone = _put_back(candidate, str(candidate.stage), mine.label, baseline.label, reason)
    if json_wanted:
        options.print_json(
            {"baseline": baseline.label, "candidate": mine.label, "requests": len(exchanges), "verdict": verdict.value,
             "failed": sum(exchange.candidate is None for exchange in exchanges), "first_failure": first or None,
             "rolled_back": undone,
             "gates": [{"gate": r.gate, "verdict": r.verdict.value, "text": r.text, "value": r.value, "low": r.low,
                        "high": r.high, "n": r.n, "line": r.line} for r in results]}
        )  # fmt: skip
    else:
        click.echo(f"{mine.label} beside {baseline.label}, {len(exchanges)} requests of {recording.name}")
        for result in results:
            _show(result)
        if first:
            click.echo(options.row("  first failure: ", first))
        if undone:
            click.echo(options.row("", f"{mine.label} is out: {undone}"))
    return 0 if verdict is Verdict.PASS else 1


def _show(result: Any) -> None:
    shown = options.coloured(f"{result.verdict.value:13}", result.verdict.value)
    click.echo(options.row(f"  {shown}", result.text))


def _put_back(candidate: Candidate, stage: str, out: str, base: str, reason: str) -> str:
    """Give a stage back to the release before, where it holds the one that is out, and deploy that again where the other was."""
    from gradatim.commands.deploy import deploy_held
    from gradatim.errors import GradatimError
    from gradatim.releasing.deploying import deployments_of
    from gradatim.steps import rollback

    fresh = candidate.anew(same_registry=False)
    holder = fresh.registry.model(fresh.name).holder(stage)
    if holder is None or holder.release is None or holder.label != out:
        return f"{stage} does not hold it, so the registry is as it was."
    planned = rollback.plan(fresh, stage, base, out=out, reason=reason)
    rollback.run(fresh, planned, reason)
    told = [f"{stage} is back at {planned.target}.", *rollback.follow(fresh, planned)]
    served = deployments_of(fresh.repository, str(holder.release.manifest))
    if fresh.contract.parts.stages[stage].deploy and any(one.stage == stage for one in served):
        try:
            told.append(
                f"It serves there again: {deploy_held(fresh.anew(same_registry=False), stage).place}."
            )
        except GradatimError as error:
            told.append(str(error))
    return " ".join(told)


class _Live:
    """A canary on live traffic, from the command line."""

    def __init__(
        self, candidate: Candidate, server: Prometheus, series: Series, shift: str | None, every: float, patience: float,
        json_wanted: bool,
    ) -> None:  # fmt: skip
        self.candidate, self.series, self.command = candidate, series, shift
        self.server = server
        self.every, self.patience, self.json_wanted = every, patience, json_wanted
        self.stage = candidate.stage or candidate.contract.ladder[-1]
        self.looks: list[Any] = []
        self.began = time.monotonic()

    def run(self, version: str | None, force: bool) -> int:
        from gradatim.checks.canary import rules_of
        from gradatim.checks.live import live_rules, look_at, plan_of, progression_of, walk
        from gradatim.files import digest_of

        mine, base = self._pair(version)
        rules = live_rules(rules_of(self.candidate.contract, self.stage))
        self.candidate.workspace.prepare()
        name = digest_of([self.stage, base, mine])[:16]
        record = self.candidate.workspace.folder / "canary" / f"live-{name}.json"
        if force:
            record.unlink(missing_ok=True)
        standing = progression_of(record, base, mine)
        self._say(f"{mine} beside {base} in {self.stage}, from {standing.percent} % of the traffic on")
        for text in plan_of(rules):
            self._say(options.row("  ", text))
        ended = walk(
            standing,
            lambda at: look_at(self.server, self.series, rules, at),
            clock=self.server.now,
            shift=self._shift,
            wait=self._wait,
            record=record,
            show=self._shown,
        )
        return self._end(ended)

    def _pair(self, version: str | None) -> tuple[str, str]:
        from gradatim.errors import UsageError

        model = self.candidate.registry.model(self.candidate.name)
        holder = model.holder(self.stage)
        put_back = model.rolled_back(self.stage) is not None
        release = model.release(version) if version else holder.release if holder and not put_back else None
        if release is None:
            holds = "was put back to an earlier release" if put_back else "holds no release"
            raise UsageError(
                f"{self.stage} {holds}. Name the candidate: gradatim canary VERSION --prometheus URL"
            )
        base = self.candidate.replaced.before(release).release
        return str(release), base.label if base else ""

    def _end(self, ended: Progression) -> int:
        undone = self._roll_back(ended) if ended.verdict == "FAIL" else None
        told = {
            "PASS": f"{ended.candidate} has all of the traffic, and every gate holds.",
            "FAIL": f"{ended.candidate} is out: {' '.join(ended.why)} {undone}",
        }
        text = told.get(
            str(ended.verdict),
            f"Undecided at {ended.percent} %: nothing was changed. The same command goes on from here.",
        )
        record = {"verdict": ended.verdict, "percent": ended.percent, "baseline": ended.baseline,
                  "candidate": ended.candidate, "rolled_back": undone, "looks": self.looks, "text": text}  # fmt: skip
        options.answer(self.json_wanted, record, text)
        return 0 if ended.verdict == "PASS" else 1

    def _roll_back(self, ended: Progression) -> str:
        """Traffic first, then what the registry says that the stage holds."""
        from gradatim.errors import GradatimError

        told = []
        try:
            self._shift(0)
        except GradatimError as error:
            told.append(str(error))
        reason = f"canary at {ended.percent} %: {' '.join(ended.why)}"
        return " ".join(
            [*told, _put_back(self.candidate, self.stage, ended.candidate, ended.baseline, reason)]
        )

    def _shift(self, percent: int) -> None:
        import shlex
        import subprocess

        from gradatim.errors import EnvironmentLacks

        self.began = time.monotonic()
        if self.command is None:
            self._say(f"  give the candidate {percent} % of the traffic")
            return
        words = [word.replace("{percent}", str(percent)) for word in shlex.split(self.command)]
        try:
            done = subprocess.run(words, cwd=self.candidate.root, capture_output=True, text=True, timeout=600)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EnvironmentLacks(f"--shift could not run for {percent} %: {error}.") from error
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise EnvironmentLacks(f"--shift failed for {percent} % with {done.returncode}: {' '.join(last)}")

    def _wait(self) -> bool:
        if time.monotonic() - self.began + self.every > self.patience:
            return False
        time.sleep(self.every)
        return True

    def _shown(self, look: Glance) -> None:
        from gradatim.checks.live import as_json

        self.looks.append(as_json(look))
        if look.text:
            self._say(options.row(f"{look.percent:5} %  waiting: ", look.text))
            return
        ends = {"PASS": "next", "FAIL": "broken"}.get(look.verdict.value, "waiting")
        self._say(f"{look.percent:5} %  {look.requests} requests  {ends}")
        for result in look.results:
            if not self.json_wanted:
                _show(result)

    def _say(self, text: str) -> None:
        click.echo(text, err=self.json_wanted)
