"""What two releases differ in: signature, measurements, files, data, training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gradatim.evidence.found import Evaluated, Inspected
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.statement import Bundle
from gradatim.files import canonical_json
from gradatim.lineage.record import Lineage
from gradatim.measurement import Measurement
from gradatim.signature import Signature

V = TypeVar("V")


@dataclass(frozen=True)
class Difference:
    """What two releases differ in; None stands for what only one of them has.

    Attributes:
        files: path, then size in bytes and SHA-256 before and after, of every file that differs.
        size: bytes of all the model's files before and after.
        measurements: label (``recall[class=8]``), before and after, of everything that either measured.
        inputs: name, digest before and after, of every input of a step that differs: data, contract, code.
        signatures: the signature before and after, where the evidence tells both.
        labels: what it can answer with before and after, where the evidence tells both.
        training: what of the training (``parameter lr``, ``training data train``, ``seed``), before and after, of
            everything recorded that differs; empty where only one of them recorded its training, or neither.
    """

    files: tuple[tuple[str, tuple[int, str] | None, tuple[int, str] | None], ...]
    size: tuple[int, int]
    measurements: tuple[tuple[str, Measurement | None, Measurement | None], ...]
    inputs: tuple[tuple[str, str | None, str | None], ...]
    signatures: tuple[Signature, Signature] | None
    labels: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    training: tuple[tuple[str, str | None, str | None], ...] = ()


def difference(old: tuple[Manifest, Bundle], new: tuple[Manifest, Bundle]) -> Difference:
    """Compare two releases by their manifests and their evidence.

    Raises:
        BrokenEvidence: what ``inspect`` or ``evaluate`` found cannot be read.
    """
    inspected = _inspected(old[1]), _inspected(new[1])
    before, after = (found.signature if found else None for found in inspected)
    answers = _labels(old), _labels(new)
    return Difference(
        tuple(found for found in _beside(_files(old[0]), _files(new[0])) if found[1] != found[2]),
        (old[0].size, new[0].size),
        tuple(_beside(_measurements(old), _measurements(new))),
        tuple(found for found in _beside(_inputs(old[1]), _inputs(new[1])) if found[1] != found[2]),
        (before, after) if before and after else None,
        (answers[0], answers[1]) if answers[0] and answers[1] else None,
        tuple(_training(*(found.lineage if found else None for found in inspected))),
    )


def _beside(
    before: Mapping[str, V], after: Mapping[str, V], order: Callable[[Iterable[str]], list[str]] = sorted
) -> Iterator[tuple[str, V | None, V | None]]:
    for name in order(dict.fromkeys([*before, *after])):
        yield name, before.get(name), after.get(name)


def _files(manifest: Manifest) -> Mapping[str, tuple[int, str]]:
    return {entry.path: (entry.size, entry.sha256) for entry in manifest.files}


def _measurements(release: tuple[Manifest, Bundle]) -> Mapping[str, Measurement]:
    manifest, evidence = release
    found = {}
    for statement in evidence.statements:
        variant = statement.variant(manifest.digest)
        for measurement in statement.measurements:
            if variant is not None and measurement.variant == variant:
                found[measurement.label] = measurement
    return found


def _labels(release: tuple[Manifest, Bundle]) -> tuple[str, ...] | None:
    """Every label that a release can answer with, in its own order."""
    manifest, evidence = release
    for statement in evidence.of("evaluate"):
        found = Evaluated.if_any(statement)
        form = found.variants.get(statement.variant(manifest.digest) or "") if found else None
        if found is not None and form is not None:
            return tuple(map(str, form.labels or found.labels))
    return None


def _inputs(evidence: Bundle) -> Mapping[str, str]:
    return {f"{s.step}: {name}": digest for s in evidence.statements for name, digest in s.inputs.items()}


def _inspected(evidence: Bundle) -> Inspected | None:
    return next((found for found in map(Inspected.if_any, evidence.of("inspect")) if found), None)


def _training(old: Lineage | None, new: Lineage | None) -> Iterator[tuple[str, str | None, str | None]]:
    if old is not None and new is not None:
        yield from (found for found in _beside(_recorded(old), _recorded(new), list) if found[1] != found[2])


def _recorded(lineage: Lineage) -> dict[str, str]:
    """Everything of a training by a name, in the order that a reader asks for it."""
    told = {"seed": lineage.seed, "code": lineage.commit}
    return {
        **{
            f"{used.use} data {name}": used.identity or used.path or "" for name, used in lineage.data.items()
        },
        **{name: str(value) for name, value in told.items() if value is not None},
        **{f"parameter {name}": _text(value) for name, value in lineage.parameters.items()},
        **{f"logged {name}": _text(metric.value) for name, metric in lineage.metrics.items()},
        **{f"environment {name}": version for name, version in lineage.environment.items()},
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()
