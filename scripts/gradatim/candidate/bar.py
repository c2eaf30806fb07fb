"""The bar that a pull request would lower: gates of its target branch that its own contract asks no more, or measures otherwise."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from gradatim.candidate.identity import Identity
from gradatim.contract.benchmark import GoodputSection, LoadSection
from gradatim.contract.generation import JudgeSection
from gradatim.contract.reading import ReadContract, contract_of
from gradatim.contract.schema import Contract, GateSection
from gradatim.contract.values import Section
from gradatim.errors import ContractError, UsageError
from gradatim.gates.gate import wanted
from gradatim.gates.rule import Rule
from gradatim.metrics import catalogue
from gradatim.metrics.catalogue import Metric


@dataclass(frozen=True)
class Weakened:
    """Something that the target branch asks and the candidate's contract does not.

    Attributes:
        key: the gate as the target writes it, or ``on_inconclusive``.
        before: what the target asks.
        now: what is asked instead; None where nothing is.
        because: the reason that the contract gives.
        line: where it gives it, or should.
    """

    key: str
    before: str
    now: str | None
    because: str | None
    line: int | None


def weakened(candidate: Identity) -> tuple[Weakened, ...]:
    """What a pull request asks less of the stage that it is for; nothing outside of pull requests.

    A contract that the target branch does not hold, or that cannot be read there, sets no bar.
    """
    held = _held_by_target(candidate)
    if held is None:
        return ()
    now, stage = candidate.contract, candidate.stage
    rules = now.rules_for(stage)
    found = []
    for rule in held.rules_for(stage):
        another = _measured_otherwise(held, now, rule.metric) or _counted_otherwise(held, now, rule)
        if not another and any(mine.implies(rule) for mine in rules):
            continue
        alike = next((mine for mine in rules if mine.key == rule.key), None)
        section, line = _section(now, stage, rule.key)
        because = section.because if section else None
        asked = _words(now, alike) + another if alike else None
        found.append(Weakened(rule.key, _words(held, rule), asked, because, line))
    return (*found, *_undecided(held, now, stage))


def _undecided(held: ReadContract, now: ReadContract, stage: str | None) -> tuple[Weakened, ...]:
    then, mine = (contract.parts.stages.get(stage or "") for contract in (held, now))
    if (
        then is None
        or mine is None
        or then.on_inconclusive == mine.on_inconclusive
        or mine.on_inconclusive == "fail"
    ):
        return ()
    line = now.source.locate(("stages", stage or "", "on_inconclusive"), key=True)[0]
    return (Weakened("on_inconclusive", then.on_inconclusive, mine.on_inconclusive, mine.because, line),)


def _measured_otherwise(held: ReadContract, now: ReadContract, metric: str) -> str:
    """What the metric is measured with, in words, where that proves less now, or something else; empty where it does not."""
    (place, before), (_, after) = (_measured_with(contract.parts, metric) for contract in (held, now))
    if isinstance(after, JudgeSection):
        same = isinstance(before, JudgeSection) and after.implies(before)
    elif isinstance(after, GoodputSection):
        same = isinstance(before, GoodputSection) and after.implies(before)
    elif isinstance(after, LoadSection):
        same = isinstance(before, LoadSection) and after.implies(before)
    else:
        same = before == after
    return "" if same else f" with another `{place}`"


def _counted_otherwise(held: ReadContract, now: ReadContract, rule: Rule) -> str:
    """What the rows of a gate are counted by, in words, where that proves less now, or something else."""
    metric = _metric(held, rule)
    if metric is None or not metric.on_samples:
        return ""
    then, data = held.parts.data, now.parts.data
    proves_less = {
        "data.group": then.group is not None and then.group != data.group,
        "data.weight": then.weight != data.weight,
        "data.covariate": data.covariate is not None and then.covariate != data.covariate,
        "data.uses": then.uses is not None and (data.uses is None or data.uses < then.uses),
        "model.candidates": len(now.parts.model.candidates) < len(held.parts.model.candidates),
    }
    return next((f" with another `{key}`" for key, is_so in proves_less.items() if is_so), "")


def _measured_with(parts: Contract, metric: str) -> tuple[str, Section | None]:
    """Where a contract says by what or whom a metric is measured, and what it says."""
    if metric == "goodput":
        return "benchmark.streaming.goodput", parts.benchmark.streaming.goodput
    if metric == catalogue.SERVER_RATE:
        return "benchmark.load", parts.benchmark.load
    if metric in catalogue.JUDGED:
        return "task.judge", parts.task.judge if parts.task else None
    if parts.task and metric in parts.task.scorers:
        return f"task.scorers.{metric}", parts.task.scorers[metric]
    return f"task.metrics.{metric}", parts.task.metrics.get(metric) if parts.task else None


def _held_by_target(candidate: Identity) -> ReadContract | None:
    target = candidate.place_if_any().target
    if target is None:
        return None
    repository, path = candidate.repository, candidate.from_top(candidate.contract.path.name)
    for revision in (f"{repository.remote}/{target}", target):
        try:
            commit = repository.resolve(revision)
        except UsageError:
            continue
        if not repository.has_file(commit, path):
            return None
        with tempfile.TemporaryDirectory(prefix="gradatim-") as folder:
            copy = Path(folder) / candidate.contract.path.name
            repository.export(commit, path, copy)
            try:
                return contract_of(copy.read_text(encoding="utf-8"), copy)
            except (ContractError, UnicodeDecodeError):
                return None
    return None


def _section(contract: ReadContract, stage: str | None, key: str) -> tuple[GateSection | None, int | None]:
    """What a contract writes under a gate, the stage's own first, and where."""
    of_stage = contract.parts.stages[stage].gates if stage in contract.parts.stages else {}
    if stage and key in of_stage:
        return of_stage[key], contract.source.locate(("stages", stage, "gates", key), key=True)[0]
    if key in contract.parts.gates:
        return contract.parts.gates[key], contract.source.locate(("gates", key), key=True)[0]
    return None, None


def _words(contract: ReadContract, rule: Rule) -> str:
    metric = _metric(contract, rule)
    said = [wanted(rule, metric) if metric else rule.key]
    said += [f"for every {rule.slices}"] if rule.slices else []
    said += ["as a veto"] if rule.family == "veto" else []
    said += [f"at {100 * (1 - rule.alpha):.4g} % confidence"] if rule.alpha != Rule.alpha else []
    return " ".join(said)


def _metric(contract: ReadContract, rule: Rule) -> Metric | None:
    task = contract.parts.task
    return catalogue.find(rule.metric, task.type if task else "", task.own if task else ())
