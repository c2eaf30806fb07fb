"""gradatim.yml from text to a typed contract, or every problem in it at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gradatim.contract import schema
from gradatim.contract.combining import (
    candidates_cannot,
    covariate_cannot,
    endpoint_cannot,
    judge_cannot,
    weights_cannot,
)
from gradatim.contract.data import DataSetSection
from gradatim.contract.lookup import DEFAULT_PATH as DEFAULT_PATH
from gradatim.contract.lookup import find_contract as find_contract
from gradatim.contract.mistakes import kind, told
from gradatim.contract.rules import Misstated, read_rule, unknown
from gradatim.contract.source import ContractText, parse
from gradatim.errors import ContractError, GradatimError, InvalidInput, MissingColumn, Problem
from gradatim.gates.rule import Rule
from gradatim.metrics import catalogue
from gradatim.metrics.catalogue import Metric
from gradatim.perturb.catalogue import ALL as CORRUPTIONS


@dataclass(frozen=True)
class ReadContract:
    """A contract that holds together.

    Attributes:
        path: the file, absolute.
        text: its text.
        parts: the typed contract.
        rules: the common gates, in the order written.
        stage_rules: the further gates of each stage.
        canary: the gates on traffic.
    """

    path: Path
    text: str
    parts: schema.Contract
    rules: tuple[Rule, ...]
    stage_rules: Mapping[str, tuple[Rule, ...]]
    canary: tuple[Rule, ...]
    source: ContractText

    @property
    def root(self) -> Path:
        """The folder that every path in the contract is relative to."""
        return self.path.parent

    @property
    def ladder(self) -> tuple[str, ...]:
        """Stage names, lowest first."""
        return tuple(self.parts.stages)

    def on(self, device: str) -> ReadContract:
        """The contract with the model on another device, as a step may run it."""
        if device == self.parts.model.device:
            return self
        return self.with_model(device=device)

    def with_model(self, **said: str) -> ReadContract:
        """The contract with something else said of the model."""
        model = self.parts.model.model_copy(update=said)
        return replace(self, parts=self.parts.model_copy(update={"model": model}))

    def rules_for(self, stage: str | None) -> tuple[Rule, ...]:
        """The common gates, and on top those of a stage."""
        return self.rules + (self.stage_rules.get(stage, ()) if stage else ())

    def data_set(self, which: str) -> DataSetSection | None:
        """A data set with what it leaves out taken from ``data`` itself."""
        data = self.parts.data
        chosen: DataSetSection | None = getattr(data, which)
        if chosen is None:
            return None
        common = {name: getattr(data, name) for name in ("label", "inputs", "slices", "group", "preprocess")}
        return chosen.model_copy(update={k: v for k, v in common.items() if k not in chosen.model_fields_set})

    def all_rules(self) -> tuple[Rule, ...]:
        """The common gates and those of every stage."""
        return self.rules + tuple(rule for rules in self.stage_rules.values() for rule in rules)

    def says(self, *place: str | int) -> bool:
        """Whether the file itself states a key, rather than leaving it to its default."""
        return tuple(place) in self.source.keys

    def where(self, *place: str | int) -> str:
        """``gradatim.yml:12``: the line that says something, for messages."""
        return f"{self.path.name}:{self.source.locate(place, key=True)[0]}"

    @contextlib.contextmanager
    def blamed(self, *place: str | int) -> Iterator[None]:
        """Whatever is refused inside is told with the line of the contract that asked for it."""
        try:
            yield
        except GradatimError as error:
            column = error.column if isinstance(error, MissingColumn) else None
            keys = ("label", "slices", "group", "inputs", "weight")
            said = next(
                (key for key in keys if column in _columns(getattr(self.parts.data, key, None))), None
            )
            here = ("data", said) if said and self.says("data", said) else place
            if not str(error).startswith(f"{self.path.name}:"):
                error.args = (f"{self.where(*here)}: {error}",)
            raise


def read_contract(path: Path) -> ReadContract:
    """Read and check a contract.

    Raises:
        ContractError: with every problem, each at its line and column.
    """
    name = path.name
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ContractError(
            name, [Problem(f"not a UTF-8 text file: {error.reason} at byte {error.start}")]
        ) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    return contract_of(text, path)


def contract_of(text: str, path: Path) -> ReadContract:
    """Check a contract's text; ``path`` is where it lies, or lay when a release was judged by it.

    Raises:
        ContractError: with every problem, each at its line and column.
    """
    name = path.name
    source = parse(text)
    if isinstance(source, Problem):
        raise ContractError(name, [source])
    if source.data is None:
        raise ContractError(
            name, [Problem("the file is empty. Write a contract with: gradatim init --force")]
        )
    if not isinstance(source.data, dict):
        raise ContractError(
            name, [Problem(f"expected keys such as `model:` and `gates:`, got {kind(source.data)}")]
        )
    problems = list(source.problems)
    try:
        parts = schema.Contract.model_validate(source.data)
    except ValidationError as error:
        problems += told(error, source)
        problems += _wrong_gates_besides(error, source)
        raise ContractError(name, problems) from None
    rules, stage_rules, canary = _rules(parts, source, problems)
    problems += _contradictions(
        parts, source, (*rules, *(rule for some in stage_rules.values() for rule in some))
    )
    if problems:
        raise ContractError(name, problems)
    return ReadContract(path.absolute(), text, parts, rules, stage_rules, canary, source)


def json_schema() -> dict[str, Any]:
    """The JSON Schema that editors complete from."""
    made = schema.Contract.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "gradatim.yml"}


def _rules(
    parts: schema.Contract, source: ContractText, problems: list[Problem]
) -> tuple[tuple[Rule, ...], dict[str, tuple[Rule, ...]], tuple[Rule, ...]]:
    task, own = _task(parts)

    def read(gates: Mapping[str, schema.GateSection], *place: str, task: str = task) -> Iterator[Rule]:
        for key, gate in gates.items():
            if gate.model_fields_set == {"because"}:
                continue  # the gate goes, and this says why
            line, _ = source.locate((*place, key), key=True)
            try:
                yield read_rule(key, gate, task, own, line)
            except Misstated as error:
                at = (*place, key, error.field) if error.field else (*place, key)
                problems.append(Problem(str(error), *source.locate(at, key=error.field is None)))

    common = tuple(read(parts.gates, "gates"))
    by_stage = {
        name: tuple(read(stage.gates, "stages", name, "gates")) for name, stage in parts.stages.items()
    }
    on_traffic = {
        key: schema.GateSection(**gate.model_dump(exclude_unset=True)) for key, gate in parts.canary.items()
    }
    return common, by_stage, tuple(read(on_traffic, "canary", task=catalogue.TRAFFIC))


def _wrong_gates_besides(error: ValidationError, source: ContractText) -> list[Problem]:
    """Gates that are well-formed and still wrong, in a contract that is malformed elsewhere: told in one go."""
    wrong = [
        tuple(part for part in detail["loc"] if part != "[key]") for detail in error.errors(include_url=False)
    ]
    if any(place[0] == "task" for place in wrong):
        return []
    gates = (
        {
            key: gate
            for key, gate in (source.data.get("gates") or {}).items()
            if not any(place[:2] == ("gates", key) for place in wrong)
        }
        if isinstance(source.data.get("gates"), dict)
        else {}
    )
    left = {"model": {"name": "model", "path": "model"}, "gates": gates, "task": source.data.get("task")}
    problems: list[Problem] = []
    try:
        _rules(schema.Contract.model_validate(left), source, problems)
    except ValidationError:
        return []
    return problems


def _task(parts: schema.Contract) -> tuple[str, tuple[Metric, ...]]:
    """The task's type (empty without one) and the contract's own metrics."""
    return (parts.task.type, parts.task.own) if parts.task else ("", ())


def _untimed(parts: schema.Contract, task: str, rules: Iterable[Rule]) -> Iterator[tuple[str, ...]]:
    """What is asked of times and rates and cannot be had, each with the key that asks."""
    if "streaming" in parts.benchmark.model_fields_set and task not in catalogue.ASKED:
        told = "`streaming` times tokens: it needs `task: {type: generation, scorers: ...}`"
        yield told, "benchmark", "streaming"
    if parts.benchmark.streaming.goodput is None:
        told = (
            "`goodput` counts the answers within `benchmark.streaming.goodput`, which is not there: say which bounds, for "
            "example `{ttft: 500 ms, tpot: 50 ms}`"
        )
        yield from ((told, "gates", rule.key) for rule in rules if rule.metric == "goodput")
    if parts.benchmark.cuda_graphs and not parts.model.device.startswith("cuda"):
        yield (
            f"`cuda_graphs` needs a GPU, and `model.device` is {parts.model.device}: leave it out, or say `device: cuda`",
            "benchmark",
            "cuda_graphs",
        )
    if parts.model.autocast and task in catalogue.ASKED:
        yield (
            "a language model computes in the type that its weights are saved in: leave out `autocast`",
            "model",
            "autocast",
        )
    sizes = [size.name for size in parts.benchmark.sizes if size.name]
    for rule in rules:
        meaning = catalogue.find(rule.metric, "generation")
        if rule.where and meaning is not None and meaning.kind == "timing":
            if not (rule.metric == "throughput" or rule.metric.startswith("latency_")):
                yield (
                    f"{rule.metric} is told of the first size of call alone: leave out what stands in brackets",
                    "gates",
                    rule.key,
                )
            elif rule.where not in sizes:
                told = (
                    f"`{rule.key}` names a size of call that is not timed. {_timed_sizes(rule.metric, sizes)}"
                )
                yield told, "gates", rule.key
    if (sizes or parts.benchmark.lengths) and task in catalogue.ASKED:
        told = f"requests of `task: {task}` are timed one by one, as long as they are: leave out `lengths`, and give `batch` one size"
        yield told, "benchmark", "lengths" if parts.benchmark.lengths else "batch"
    load = parts.benchmark.load
    if load is None or "server" not in load.scenarios:
        told = "`server_rate` is what `benchmark.load` finds with `server` among its scenarios: say `load: {p99: 50 ms}`"
        yield from ((told, "gates", rule.key) for rule in rules if rule.metric == catalogue.SERVER_RATE)
    if load is not None and load.url and parts.model.endpoint:
        yield "an `endpoint` is loaded where it is: leave out `url`", "benchmark", "load", "url"


def _timed_sizes(metric: str, sizes: Sequence[str]) -> str:
    """What a gate on a timing may name, in words."""
    if not sizes:
        return "Declare several: `benchmark: {batch: [1, 8]}`, or leave out what stands in brackets"
    return f"Write one of {', '.join(f'`{metric}[{size}]`' for size in sizes)}; without brackets the first is judged"


def _gate_at(parts: schema.Contract, place: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """``place``, below its stage where it is a gate of a stage's own."""
    if place[0] != "gates" or place[1] in parts.gates:
        return place
    return next(
        (("stages", name, *place) for name, stage in parts.stages.items() if place[1] in stage.gates), place
    )


def _wrong_runners(parts: schema.Contract) -> Iterator[tuple[str, ...]]:
    """What cannot be of the runners that stages and steps name: (what is wrong, the keys to where)."""
    for name, stage in parts.stages.items():
        if stage.runner and stage.runner not in parts.runners:
            yield unknown("runner", stage.runner, parts.runners), "stages", name, "runner"
    for step in schema.HEAVY:
        runner = getattr(getattr(parts, step), "runner", None)
        if runner and runner not in parts.runners:
            yield unknown("runner", runner, parts.runners), step, "runner"
    taken = {stage.environment or name for name, stage in parts.stages.items()}
    for name, said in parts.runners.items():
        if said.environment in taken:
            why = "is the environment of a stage, which lets its branches in alone; the runner needs one of its own"
            yield f"`{said.environment}` {why}", "runners", name, "environment"


def _contradictions(
    parts: schema.Contract, source: ContractText, rules: tuple[Rule, ...]
) -> Iterator[Problem]:
    """What is well-formed key by key and still cannot work."""

    def at(message: str, *place: str | int) -> Problem:
        return Problem(message, *source.locate(_gate_at(parts, place)))

    held: dict[str, str] = {}
    for name, stage in parts.stages.items():
        if stage.branch and stage.branch in held:
            yield at(
                f"the branch `{stage.branch}` already holds the stage `{held[stage.branch]}`; "
                "each stage needs a branch of its own",
                "stages", name, "branch",
            )  # fmt: skip
        if stage.branch:
            held.setdefault(stage.branch, name)
    for message, *place in _wrong_runners(parts):
        yield at(message, *place)
    if not parts.stages:
        yield at("a ladder needs at least one stage", "stages")
    task, own = _task(parts)
    needing = [rule for rule in rules if _on_predictions(rule, task, own)]
    imported = parts.evaluate.imported
    if imported is not None and (parts.data.evaluation is not None or parts.compress is not None):
        yield at(
            "`import` brings the answers with it: it goes with no `data.evaluation` and no `compress`",
            "evaluate",
            "import",
        )
    if told := endpoint_cannot(parts, task):
        yield at(told, "model", "endpoint")
    yield from (at(told, *place) for told, *place in _untimed(parts, task, rules))
    if imported is not None and task not in catalogue.ASKED:
        why = "`import` needs `task: {type: generation, scorers: ...}`, which names the scores"
        yield at(why, "evaluate", "import")
    yield from (at(told, *where) for told, *where in judge_cannot(parts, task, rules))
    yield from (at(str(told), *where) for told, *where in candidates_cannot(parts, rules))
    rows = (*covariate_cannot(parts, task, rules), *weights_cannot(parts, task, rules))
    yield from (at(told, *where) for told, *where in rows)
    if needing and parts.data.evaluation is None and imported is None:
        yield at("gates on predictions need `data.evaluation`, the data to judge on", "gates", needing[0].key)
    if parts.data.evaluation is not None and parts.task is None:
        yield at("`data.evaluation` needs `task`, for example `task: classification`", "data", "evaluation")
    mine = [metric.name for metric in own]
    for name in parts.task.lower_is_better if parts.task else ():
        if name not in mine:
            yield at(unknown("own metric", name, mine), "task", "lower_is_better")
    if parts.compress is not None and parts.data.calibration is None:
        yield at(
            "`compress` needs `data.calibration`: what it selects on must not be what the gates judge on",
            "compress",
        )
    if parts.compress is not None and parts.model.adapter is not None:
        yield at(
            "`compress` makes nothing of an adapter: merge it into its base, and release that", "compress"
        )
    for metric in parts.compress.keep if parts.compress else ():
        if not catalogue.is_keepable(metric, task, own):
            yield at(unknown("metric", metric, catalogue.keepable(task, own)), "compress", "keep", metric)
    scored = parts.card.benchmark
    if scored and scored.metric not in catalogue.known(task, own):
        yield at(unknown("metric", scored.metric, catalogue.known(task, own)), "card", "benchmark", "metric")
    for index, corruption in enumerate(parts.test.robustness):
        if corruption not in CORRUPTIONS:
            yield at(unknown("corruption", corruption, CORRUPTIONS), "test", "robustness", index)
    for rule in rules:
        if rule.metric == "robustness" and rule.where and rule.where not in parts.test.robustness:
            yield at(
                f"`{rule.key}` gates a corruption that `test.robustness` does not run; add `{rule.where}` there",
                "gates", rule.key,
            )  # fmt: skip
    yield from (at(str(told), *spot) for told, *spot in _outside(parts))


def _outside(parts: schema.Contract) -> Iterator[tuple[str | int, ...]]:
    """Paths that lead out of the repository, each with the key that holds it."""
    inside: dict[tuple[str | int, ...], str | None] = {
        ("model", "path"): parts.model.path,
        ("model", "adapter"): parts.model.adapter,
        ("test", "golden"): parts.test.golden,
        **{("model", "candidates", place): path for place, path in enumerate(parts.model.candidates)},
    }
    if parts.lineage is not None:
        place = str(parts.lineage.place).removeprefix("sqlite:///")
        inside["lineage", parts.lineage.kind] = None if "://" in place else place
    for spot, written in inside.items():
        if written and (written.startswith("/") or ".." in Path(written).parts):
            yield "a path inside the repository is wanted: relative, without `..`", *spot


def _on_predictions(rule: Rule, task: str, own: tuple[Metric, ...]) -> bool:
    metric = catalogue.find(rule.metric, task, own)
    return metric is not None and metric.kind not in ("timing", "limit")


def _columns(named: Any) -> list[str]:
    """The columns that a key under ``data`` names."""
    if isinstance(named, Mapping):
        return [column for columns in named.values() for column in columns]
    return [named] if isinstance(named, str) else list(named or ())
