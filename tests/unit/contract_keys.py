"""Every key of the contract, out of the schema itself, with two values for it: a key that is new is here by itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from gradatim.contract.schema import Contract


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()
"""The value of a key that is left out."""

BASE: dict[str, Any] = {
    "model": {"name": "small", "path": "model.onnx"},
    "data": {
        "evaluation": {"path": "test.npz"},
        "calibration": {"path": "calibration.npz"},
        "inputs": {"x": "x"},
    },
    "task": {"type": "classification", "labels": [0, 1, 2]},
    "test": {"abnormal": "skip"},
    "gates": {"accuracy": {"at_least": "80%"}, "accuracy[class=0]": {"at_least": "85%"}},
    "benchmark": {"rounds": 3},
    "stages": {
        "alpha": {"branch": "develop", "on_inconclusive": "warn"},
        "production": {
            "branch": "main",
            "on_inconclusive": "warn",
            "gates": {"f1_macro": {"at_least": "50%"}},
        },
    },
    "runners": {"big": {"labels": ["big"]}},
    "registry": {},
}
"""The contract in which one key is changed at a time."""


@dataclass(frozen=True)
class Example:
    """Two values of a key that must not mean the same.

    Attributes:
        one, other: the values.
        given: whole sections of the contract besides, where the key means something in their company only.
    """

    one: Any
    other: Any
    given: Mapping[str, Any] = field(default_factory=dict)


_FUNCTION = {
    "model": {
        "name": "another",
        "factory": "rules:model",
        "inputs": {"x": {}},
        "outputs": {"next": {}, "after": {}, "scores": {}},
    }
}
_PROGRAM = {"model": {"name": "another", "path": "serve.py", "inputs": {"x": {}}, "outputs": {"scores": {}}}}
_CONSTANT = {"model": {**_FUNCTION["model"], "inputs": {"x": {}, "gain": {}}}}
_STATE = {
    "model": {
        **_FUNCTION["model"],
        "inputs": {
            "x": {"shape": ["n"], "dtype": "float32"},
            "state": {"shape": ["n", 1], "dtype": "float32"},
        },
    },
    "data": {"evaluation": {"path": "test.npz"}},
}
_COVARIATE: dict[str, Any] = {
    "data": {
        "evaluation": {"path": "many.csv"},
        "inputs": {"x": [*"abcdef"]},
        "covariate": {"column": "hard", "mean": 3},
    }
}
_POOLED = {"data": {**_COVARIATE["data"], "covariate": {"column": "hard"}}}
_OWN = {"task": {"type": "classification", "labels": [0, 1, 2], "metrics": {"cost": "scoring:cost"}}}
_METRIC = {"task": {**_OWN["task"], "metrics": {"cost": {"function": "scoring:cost"}}}}
_TWO = {
    "model": {"name": "another", "factory": "rules:two", "inputs": {"x": {}}, "outputs": {"scores": {}}},
    "data": {"evaluation": {"path": "test.npz", "label": "site"}, "inputs": {"x": "x"}},
    "task": {"type": "classification", "labels": [0, 1]},
}
_BOXES: dict[str, Any] = {
    "model": {"name": "another", "factory": "rules:boxes", "inputs": {"x": {}}},
    "data": {"evaluation": {"path": "test.npz", "label": "found"}, "inputs": {"x": "x"}},
    "task": {"type": "detection", "labels": ["a", "b"], "boxes": {"scores": "sure", "labels": "first"}},
    "gates": {},
    "stages": {"production": {"branch": "main"}},
}
_AHEAD: dict[str, Any] = {
    "model": _FUNCTION["model"],
    "task": {"type": "forecasting", "output": "scores", "history": "x", "quantiles": [0.1, 0.5, 0.9]},
    "gates": {},
    "stages": {"production": {"branch": "main"}},
}
_SCORED = {"card": {"benchmark": {"dataset": "team/small", "task": "default", "metric": "accuracy"}}}
_GOLDEN = {"test": {"abnormal": "skip", "golden": "golden.npz", "tolerance": {"absolute": 0, "relative": 0}}}
_ROBUST = {"test": {"abnormal": "skip", "robustness": ["feature_noise"], "items": 4}}
_HEARD = {"test": {"abnormal": "skip", "modality": "audio", "robustness": ["gain"], "items": 4}}
_SEARCHED = {"compress": {"keep": {"accuracy": "50%"}, "methods": ["int8-dynamic"]}}
_MLFLOW = {"lineage": {"mlflow": {"store": "mlruns"}}}
_SIGNED = {"signing": {"identity": ["ada"], "issuer": "https://one"}}

_SPEAKS: dict[str, Any] = {
    "model": {"name": "another", "factory": "speaking:make"},
    "data": {"evaluation": {"path": "prompts.jsonl"}, "calibration": {"path": "prompts.jsonl"}},
    "task": {
        "type": "generation",
        "scorers": {"exact_match": {}},
        "generation": {"temperature": 1, "shots": [{"prompt": "a", "answer": "b"}]},
    },
    "gates": {},
    "stages": {"production": {"branch": "main"}},
}

_IMPORTED = {
    **_SPEAKS,
    "model": {"name": "small", "path": "model.onnx"},
    "data": {},
    "task": {"type": "generation", "scorers": {"acc": {}}},
    "evaluate": {"import": {"path": "first.jsonl", "baseline": "first.jsonl"}},
}
SERVER = "http://127.0.0.1:65535/v1"
"""Where a model is served, until the test knows better."""

_ENDPOINT = {
    **_SPEAKS,
    "model": {"name": "small", "endpoint": {"url": SERVER, "model": "small", "timeout": 1}},
}
_LOADED = {"benchmark": {"rounds": 3, "load": {"p99": "1 s"}}}
_STRESSED = {"benchmark": {"rounds": 3, "load": {"p99": "1 s", "scenarios": ["stress"]}}}
_STREAMED: dict[str, Any] = {
    **_SPEAKS,
    "model": {"name": "another", "endpoint": {"url": SERVER}},
    "benchmark": {
        "rounds": 3,
        "streaming": {"tokens": 2, "prompts": 2, "goodput": {"ttft": 9, "tpot": 9, "latency": 9}},
    },
}
_BESIDE = {
    **_SPEAKS,
    "model": {"name": "small", "endpoint": {"url": SERVER, "timeout": 1, "baseline": {"url": SERVER}}},
}


def _judged(**said: Any) -> dict[str, Any]:
    """A contract whose answers are compared by a judge."""
    return {**_SPEAKS, "task": {**_SPEAKS["task"], "judge": said}}


_BY_SERVER = _judged(endpoint={"url": SERVER, "model": "small", "timeout": 1}, rubric="long")
_BY_PEOPLE = _judged(function="speaking:longer", human={"path": "people.jsonl"})


def _scored(name: str, **said: Any) -> dict[str, Any]:
    return {**_SPEAKS, "task": {"type": "generation", "scorers": {name: said}}}


def _on(gate: str, **others: Any) -> dict[str, Any]:
    return {"gates": {gate: others}}


def _deployed(**how: str) -> dict[str, Any]:
    """A contract whose production is deployed."""
    return {"stages": {**BASE["stages"], "production": {**BASE["stages"]["production"], "deploy": how}}}


def _on_traffic(gate: str, **others: Any) -> dict[str, Any]:
    """A contract with one gate on traffic."""
    return {"canary": {gate: others}}


def _in_stage(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same gate, of a stage alone."""
    return {
        **given,
        "gates": {},
        "stages": {"production": {"branch": "main", "gates": given.get("gates", {})}},
    }


EXAMPLES = {
    "model.path": Example("model.onnx", "other.onnx"),
    "model.build.run": Example(
        "python make.py", "python other.py", {"model": {"name": "small", "path": "made.onnx", "build": {}}}
    ),
    "model.build.inputs": Example(
        ABSENT,
        ["test.npz"],
        {"model": {"name": "small", "path": "made.onnx", "build": {"run": "python make.py"}}},
    ),
    "data.covariate.column": Example("hard", "other", _COVARIATE),
    "data.covariate.mean": Example(3, 3.2, _COVARIATE),
    "data.covariate.unlabelled": Example("pool.csv", "other_pool.csv", _POOLED),
    "model.candidates": Example(["other.onnx"], ["other.onnx", "another.onnx"]),
    "model.factory": Example("rules:model", "rules:other", _FUNCTION),
    "model.command": Example(["python", "{path}", "1"], ["python", "{path}", "2"], _PROGRAM),
    "evaluate.show": Example(0, 5, _SPEAKS),
    "model.endpoint.url": Example(SERVER, "http://127.0.0.1:1/v1", _ENDPOINT),
    "model.endpoint.model": Example("small", "large", _ENDPOINT),
    "model.endpoint.key": Example("ONE", "OTHER", _ENDPOINT),
    "model.endpoint.parallel": Example(2, 3, _ENDPOINT),
    "model.endpoint.timeout": Example("1 s", "1 us", _ENDPOINT),
    "model.endpoint.baseline.url": Example(SERVER, "http://127.0.0.1:1/v1", _BESIDE),
    "model.endpoint.baseline.model": Example("small", "large", _BESIDE),
    "model.files": Example("rules.py", ["rules.py", "gradatim.yml"], _FUNCTION),
    "model.limits.call": Example("10 min", "1 us", _FUNCTION),
    "model.limits.all": Example("6 h", "1 us", _FUNCTION),
    "model.allow_pickle": Example(False, True, {"model": {"name": "small", "path": "model.pkl"}}),
    "model.device": Example("cpu", "cuda"),
    "model.tokenizer.max_length": Example(8, 16),
    "model.tokenizer.truncation": Example("left", "right"),
    "model.tokenizer.padding": Example("left", "right"),
    "model.inputs.*.dtype": Example("float32", "float64", _FUNCTION),
    "model.inputs.*.shape": Example(["n", 6], ["n", 5], _FUNCTION),
    "model.inputs.*.value": Example(1.0, 2.0, _CONSTANT),
    "model.inputs.*.carry": Example("next", "after", _STATE),
    "model.outputs.*.dtype": Example("float32", "float64", _FUNCTION),
    "model.outputs.*.shape": Example(["n", 3], ["n", 4], _FUNCTION),
    **{
        f"data{place}.{key}": Example(one, other)
        for place in ("", ".evaluation", ".calibration")
        for key, one, other in (
            ("label", "label", "y"),
            ("inputs", {"x": "x"}, {"x": "z"}),
            ("slices", [], ["site"]),
            ("group", ABSENT, "user"),
            ("preprocess", ABSENT, "prepare:twice"),
        )
    },
    "data.evaluation.path": Example("test.npz", "calibration.npz"),
    "data.calibration.path": Example("test.npz", "calibration.npz"),
    "data.training": Example([], ["rules.py"]),
    "data.batch": Example(3, 4),
    "data.weight": Example(ABSENT, "w"),
    "data.uses": Example(ABSENT, 8),
    "task.labels": Example([0, 1, 2], [2, 1, 0]),
    "task.output": Example("scores", "next", _FUNCTION),
    "task.positive": Example(0, 1, _TWO),
    "task.boxes.scores": Example("sure", "unsure", _BOXES),
    "task.boxes.labels": Example("first", "second", _BOXES),
    "task.boxes.form": Example("xyxy", "xywh", _BOXES),
    "task.boxes.label_form": Example("xyxy", "xywh", _BOXES),
    "task.history": Example("x", None, _AHEAD),
    "task.season": Example(1, 2, _AHEAD),
    "task.quantiles": Example([0.1, 0.5, 0.9], [0.2, 0.5, 0.8], _AHEAD),
    "task.metrics.*.function": Example("scoring:cost", "scoring:gain", _METRIC),
    "task.metrics.*.outputs": Example([], "another", _METRIC),
    "task.lower_is_better": Example(["cost"], [], {**_OWN, **_on("cost", at_most="105% of baseline")}),
    "task.scorers.*.by": Example("exact_match", "contains", _scored("right")),
    "task.scorers.*.function": Example("speaking:ones", "speaking:twos", _scored("mine")),
    "task.scorers.*.regex": Example(r"\d+", r"\d{3}", _scored("regex_match")),
    "task.scorers.*.take": Example("first", "last", _scored("regex_match", regex=r"\d")),
    "task.scorers.*.words": Example(["1"], ["z"], _scored("contains")),
    "task.scorers.*.json_schema": Example({"type": "integer"}, {"type": "string"}, _scored("json_valid")),
    "task.judge.endpoint.url": Example(SERVER, "http://127.0.0.1:1/v1", _BY_SERVER),
    "task.judge.endpoint.model": Example("small", "large", _BY_SERVER),
    "task.judge.endpoint.key": Example("ONE", "OTHER", _BY_SERVER),
    "task.judge.endpoint.parallel": Example(2, 3, _BY_SERVER),
    "task.judge.endpoint.timeout": Example("1 s", "1 us", _BY_SERVER),
    "task.judge.rubric": Example("long", "short", _BY_SERVER),
    "task.judge.max_new_tokens": Example(100, 1, _BY_SERVER),
    "task.judge.function": Example("speaking:longer", "speaking:unsure", _judged()),
    "task.judge.human.path": Example("people.jsonl", "others.jsonl", _BY_PEOPLE),
    "task.judge.human.label": Example("preferred", "disliked", _BY_PEOPLE),
    "task.judge.human.kappa": Example(0.3, 0.95, _BY_PEOPLE),
    **{
        f"task.generation.{key}": Example(one, other, _SPEAKS)
        for key, one, other in (
            ("max_new_tokens", 3, 4),
            ("temperature", 1, 2),
            ("top_p", ABSENT, 0.5),
            ("top_k", ABSENT, 5),
            ("seed", 0, 1),
            ("samples", 1, 2),
            ("stop", [], ["."]),
            ("shots[].prompt", "a", "b"),
            ("shots[].answer", "a", "b"),
            ("cut_off", "fail", "score"),
        )
    },
    "model.differs": Example(
        [], ["same_tokenizer"], {**_SPEAKS, "model": {"name": "another", "path": "talker"}}
    ),
    "evaluate.import.path": Example("first.jsonl", "second.jsonl", {**_IMPORTED, "model": _SPEAKS["model"]}),
    "evaluate.import.baseline": Example("first.jsonl", "nowhere.jsonl", _IMPORTED),
    "task.renamed": Example({}, {"2": "two"}),
    "lineage.mlflow.run": Example("a", "b", _MLFLOW),
    "lineage.mlflow.experiment": Example("a", "b", _MLFLOW),
    "card.license": Example("MIT", "Apache-2.0"),
    "card.dataset": Example("team/one", "team/other"),
    "card.benchmark.dataset": Example("team/one", "team/other", _SCORED),
    "card.benchmark.task": Example("one", "other", _SCORED),
    "card.benchmark.metric": Example("accuracy", "f1_macro", _SCORED),
    "card.benchmark.revision": Example("one", "other", _SCORED),
    "test.pytest": Example("tests/good", "tests/bad"),
    "test.robustness": Example(["feature_noise"], ["missing_values"], _ROBUST),
    "test.modality": Example("tabular", "text", _ROBUST),
    "test.range": Example([-1, 1], [50, 100], _HEARD),
    "test.golden": Example(ABSENT, "golden.npz", _GOLDEN),
    "test.tolerance.absolute": Example(0, 1, _GOLDEN),
    "test.tolerance.relative": Example(0, 1, _GOLDEN),
    "test.tolerance.compressed": Example(0, 1, {**_GOLDEN, **_SEARCHED}),
    "test.slowest": Example("1 min", "1 ns"),
    "test.abnormal": Example("lenient", "skip"),
    "test.known_failures": Example([], ["all NaN"], {"test": {"abnormal": "strict"}}),
    "test.examples": Example(1, 2),
    "test.timeout": Example(600, 0.01, {"test": {"abnormal": "skip", "pytest": "tests/good"}}),
    "test.items": Example(3, 4, _ROBUST),
    "test.seed": Example(0, 1, _ROBUST),
    "gates.*.at_least": Example("80%", "81%", _on("accuracy")),
    "gates.*.at_most": Example("1 MB", "2 MB", _on("size")),
    "gates.*.not_worse_than": Example("baseline", ABSENT, _on("accuracy", by="1%")),
    "gates.*.not_slower_than": Example("baseline", ABSENT, _on("latency_p50", by="1%")),
    "gates.*.by": Example("1%", "2%", _on("accuracy", not_worse_than="baseline")),
    "gates.*.slices": Example(ABSENT, "every class", _on("recall", at_least="80%")),
    "gates.*.veto": Example(
        False, True, _on("recall", not_worse_than="baseline", by="1%", slices="every class")
    ),
    "gates.*.severity": Example(1, 2, {**_on("robustness[feature_noise]", at_least="50%"), **_ROBUST}),
    "gates.*.sequential": Example(False, True, _on("accuracy", at_least="80%")),
    "gates.*.strict": Example(False, True, {**_on("robustness[feature_noise]", at_least="50%"), **_ROBUST}),
    "gates.*.because": Example("harder pictures", "older cameras", _on("accuracy", at_least="70%")),
    "stages.*.because": Example("few samples", "old samples"),
    "gates.*.confidence": Example("90%", "95%", _on("accuracy", at_least="80%")),
    "test.budget": Example(ABSENT, 1e-9, _ROBUST),
    "benchmark.threads": Example(1, 2),
    "model.autocast": Example(ABSENT, "bf16"),
    "benchmark.cuda_graphs": Example(False, True),
    "benchmark.batch": Example([2, 3], [3, 2]),
    "benchmark.lengths": Example(ABSENT, 4),
    "benchmark.streaming.tokens": Example(2, 3, _STREAMED),
    "benchmark.streaming.prompts": Example(2, 3, _STREAMED),
    **{
        f"benchmark.streaming.goodput.{key}": Example(9, "1 ns", _STREAMED)
        for key in ("ttft", "tpot", "latency")
    },
    "benchmark.rounds": Example(3, 4),
    "benchmark.load.scenarios": Example("server", ["offline", "stress"], _LOADED),
    "benchmark.load.p99": Example("1 s", "50 ms", _LOADED),
    "benchmark.load.seconds": Example(10, 20, _LOADED),
    "benchmark.load.budget": Example("10 min", "1 h", _LOADED),
    "benchmark.load.parallel": Example(1, 8, _LOADED),
    "benchmark.load.locustfile": Example("users.py", "others.py", _STRESSED),
    "benchmark.load.url": Example(ABSENT, "http://127.0.0.1:8080/v2/models/small", _LOADED),
    "compress.keep": Example({"accuracy": "50%"}, {"f1_macro": "50%"}, _SEARCHED),
    "compress.methods": Example(["int8-dynamic"], ["int8-weights"], _SEARCHED),
    "compress.passes": Example(ABSENT, ["rules:halved"], _SEARCHED),
    "compress.student": Example(ABSENT, "rules:halved", _SEARCHED),
    "compress.train": Example(
        ABSENT, "gone:train", {"compress": {**_SEARCHED["compress"], "student": "rules:halved"}}
    ),
    "compress.split.parts": Example(2, 3, {"compress": {**_SEARCHED["compress"], "split": {"parts": 2}}}),
    "compress.split.by": Example(
        "size",
        "time",
        {
            "model": {"name": "small", "path": "uneven.onnx"},
            "compress": {"keep": {"accuracy": "50%"}, "methods": [], "split": {"parts": 2}},
        },
    ),
    "compress.rows": Example(3, 4, _SEARCHED),
    "compress.memory": Example("8 GB", "1 MB", _SEARCHED),
    "compress.timeout": Example(600, 0.01, _SEARCHED),
    "compress.seconds": Example(600, 0.01, _SEARCHED),
    "stages.*.runner": Example(ABSENT, "big"),
    "env": Example(["DATA_ROOT"], ["OTHER_ROOT"]),
    "runners.*.labels": Example(
        "one", "other", {"stages": {"production": {"branch": "main", "runner": "big"}}}
    ),
    "runners.*.group": Example(
        ABSENT, "gpus", {"stages": {"production": {"branch": "main", "runner": "big"}}}
    ),
    **{f"{step}.runner": Example(ABSENT, "big") for step in ("test", "evaluate", "benchmark")},
    "compress.runner": Example(ABSENT, "big", _SEARCHED),
    "stages.*.deploy.folder": Example("served/one", "served/other"),
    "stages.*.deploy.command": Example("./one {version}", "./other {version}"),
    "stages.*.deploy.kubernetes": Example("argo-rollouts", "deployment", _deployed(image="one:{version}")),
    "stages.*.deploy.image": Example("one:{version}", "two:{version}", _deployed(kubernetes="deployment")),
    "stages.*.deploy.storage": Example("s3://one", "s3://two", _deployed(kubernetes="kserve")),
    "stages.*.soak": Example(0, "30 days"),
    "stages.*.fresh": Example(ABSENT, "5 days"),
    "signing.key": Example("keys/one.pub", "keys/two.pub"),
    "signing.identity": Example("one", "other", _SIGNED),
    "signing.issuer": Example("https://one", "https://other", _SIGNED),
    "publish.outcomes": Example(False, True),
    "publish.to[].s3": Example("s3://one/models", "s3://other/models"),
    "publish.to[].oci": Example("ghcr.io/team/one", "ghcr.io/team/other"),
    "publish.to[].github": Example("team/one", "team/other"),
    "publish.to[].gitlab": Example("team/one", "team/other"),
    "publish.to[].huggingface": Example("team/one", "team/other"),
    "publish.to[].mlflow": Example("https://one.org", "https://other.org"),
    "iteration.drift": Example("drift.json", "other.json"),
    "iteration.feedback": Example("said/*.jsonl", "told/*.jsonl"),
    "iteration.cron": Example("1 2 * * *", "2 3 * * *"),
    "registry.remote": Example("origin", "upstream"),
}
"""Values for keys whose type does not tell them, or that mean something in company only."""

EXAMPLES |= {
    "canary.*.at_least": Example("80%", "81%", _on_traffic("agreement")),
    "canary.*.at_most": Example("1%", "2%", _on_traffic("errors")),
    "canary.*.not_worse_than": Example("baseline", ABSENT, _on_traffic("errors", by="1%")),
    "canary.*.not_slower_than": Example("baseline", ABSENT, _on_traffic("latency_p95", by="1%")),
    "canary.*.by": Example("1%", "2%", _on_traffic("errors", not_worse_than="baseline")),
    "canary.*.confidence": Example("90%", "95%", _on_traffic("agreement", at_least="80%")),
}

EXAMPLES |= {
    f"stages.*.{key}": replace(example, given=_in_stage(example.given))
    for key, example in EXAMPLES.items()
    if key.startswith("gates.")
}


def keys_of(model: type[BaseModel] = Contract, before: str = "") -> Iterator[str]:
    """``model.path``, ``stages.*.gates.*.by``, ``publish.to[].s3``: every key that holds a value, not further keys."""
    for name, found in model.model_fields.items():
        section, many = _section(found.annotation)
        if section is None:
            yield f"{before}{name}"
        else:
            yield from keys_of(section, f"{before}{name}{many}.")


def contract_with(key: str, value: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The contract in which a key has a value: of a mapping's entries the last has it, of a list's the only one."""
    contract = copy.deepcopy({**BASE, **given})
    place: Any = contract
    *way, last = key.split(".")
    for part in way:
        if part == "*":
            place = place[list(place)[-1]]
        elif part.endswith("[]"):
            (place,) = place.setdefault(part[:-2], [{}])
        else:
            place = place.setdefault(part, {})
    if value is ABSENT:
        place.pop(last, None)
    else:
        place[last] = value
    return contract


def from_the_schema(key: str) -> Example | None:
    """Two values of a key that its type alone tells: yes and no, two of the words that it takes, a number and the next."""
    model: Any = Contract
    *way, last = (part.removesuffix("[]") for part in key.split(".") if part != "*")
    for part in way:
        model, _ = _section(model.model_fields[part].annotation)
    found = model.model_fields[last]
    words = _words(found.annotation)
    if found.annotation is bool:
        return Example(False, True)
    if words:
        return Example(words[0], words[1] if len(words) > 1 else ABSENT)
    if found.annotation in (int, float) and found.default is not None:
        return Example(found.default, found.default + 1)
    return Example("one", "other") if _is_text(found.annotation) else None


def _section(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The section of the schema in a type, with ``.*`` where a mapping has many of them and ``[]`` where a list has."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    for inner in get_args(annotation):
        section, many = _section(inner)
        if section is not None:
            return section, {dict: ".*", tuple: "[]"}.get(get_origin(annotation), "") + many  # type: ignore[call-overload]
    return None, ""


def _is_text(annotation: Any) -> bool:
    return annotation is str or any(_is_text(inner) for inner in get_args(annotation))


def _words(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((words for inner in get_args(annotation) if (words := _words(inner))), ())
