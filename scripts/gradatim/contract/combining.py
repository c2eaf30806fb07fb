"""What is well-formed by itself and cannot stand in one contract with something else."""

from __future__ import annotations

from collections.abc import Iterator

from gradatim.contract import schema
from gradatim.gates.rule import Rule
from gradatim.metrics import catalogue


def endpoint_cannot(parts: schema.Contract, task: str) -> str | None:
    """What is asked of an endpoint and no endpoint can do."""
    if parts.model.endpoint is None:
        return None
    if parts.compress is not None:
        return "an `endpoint` answers for the model as it is: no form that `compress` makes"
    if task not in ("", *catalogue.ASKED):
        return f"an `endpoint` is asked for text, and the task is {task}: `task: {{type: generation, scorers: ...}}`"
    return None


def judge_cannot(parts: schema.Contract, task: str, rules: tuple[Rule, ...]) -> Iterator[tuple[str, ...]]:
    """What is asked of a judge of pairs and none can do, and where that stands."""
    judge = parts.task.judge if parts.task else None
    if judge is not None and (task not in catalogue.ASKED or parts.evaluate.imported is not None):
        why = "compares texts: it needs `task: {type: generation}`, and answers that are made here, not imported"
        yield f"a `judge` {why}", "task", "judge"
    for rule in rules:
        if rule.metric in catalogue.JUDGED and judge is None:
            yield f"`{rule.metric}` is what a judge says: name one under `task.judge`", "gates", rule.key


def covariate_cannot(parts: schema.Contract, task: str, rules: tuple[Rule, ...]) -> Iterator[tuple[str, ...]]:
    """What is asked beside a covariate and cannot be had, each with the key that asks."""
    data = parts.data
    if data.covariate is None:
        return
    if data.evaluation is None:
        yield "`covariate` is a column of `data.evaluation`, which is not there", "data", "covariate"
    if task == "ranking":
        yield (
            "`covariate` is a number of what is judged, which in ranking are lists, not rows",
            "data",
            "covariate",
        )
    for rule in rules:
        if rule.sequential:
            yield (
                "`sequential` has no bounds that a `covariate` adjusts: leave out one of the two",
                "gates",
                rule.key,
            )


def candidates_cannot(parts: schema.Contract, rules: tuple[Rule, ...]) -> Iterator[tuple[str | int, ...]]:
    """What is asked beside several candidates of one recipe and cannot be had, each with the key that asks."""
    model = parts.model
    if not model.candidates:
        return
    beside = {
        "build": (model.build, "makes one model: commit those of `candidates`, each trained with a seed of its own"),
        "adapter": (model.adapter, "is put on one model: merge those of `candidates` into whole ones"),
        "endpoint": (model.endpoint, "answers for one model: `candidates` are files beside `path`"),
        "compress": (parts.compress, "makes forms of one model: `candidates` are judged as they were trained"),
        "import": (parts.evaluate.imported, "brings the answers of one model, not those of `candidates`"),
        "judge": (parts.task and parts.task.judge, "compares the answers of one model, not those of `candidates`"),
    }  # fmt: skip
    for key, (said, why) in beside.items():
        if said is not None:
            yield f"`{key}` {why}", "model", "candidates"
    if model.path is None:
        yield "`candidates` stand beside `path`, which is the one to be released", "model", "candidates"
    for place, path in enumerate(model.candidates):
        if path in (model.path, *model.candidates[:place]):
            yield f"`{path}` stands twice: each candidate is another model", "model", "candidates", place
    for rule in rules:
        if rule.sequential:
            yield (
                "`sequential` has no bounds for several `candidates`: leave out one of the two",
                "gates",
                rule.key,
            )


def weights_cannot(parts: schema.Contract, task: str, rules: tuple[Rule, ...]) -> Iterator[tuple[str, ...]]:
    """What is asked of weighted rows and has no valid interval, each with the key that asks."""
    if parts.data.weight is None:
        return
    if parts.evaluate.imported is not None or parts.data.evaluation is None:
        yield "`weight` is a column of `data.evaluation`, which models are asked about here", "data", "weight"
    if parts.data.covariate is not None:
        yield (
            "`covariate` adjusts rows that count alike, not those of a `weight`: leave out one of the two",
            "data",
            "weight",
        )
    own, binary = parts.task.own if parts.task else (), parts.task is not None and parts.task.one_against_rest
    known = catalogue.weighable(task, own)
    for rule in rules:
        metric = catalogue.find(rule.metric, task, own)
        if metric is None or not (metric.on_samples or metric.kind == "robustness"):
            continue
        over_classes = rule.metric in catalogue.OF_CLASSES and not (binary or rule.of_class)
        if rule.metric not in known or over_classes or rule.sequential:
            what = (
                "a mean over classes"
                if over_classes
                else "`sequential`"
                if rule.sequential
                else f"`{rule.metric}`"
            )
            told = f"{what} has no valid interval with `data.weight`: ask for {', '.join(known) or 'nothing of samples'}"
            yield f"{told}{', of one class' if over_classes else ''}", "gates", rule.key
