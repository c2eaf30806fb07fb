"""What two releases differ in: signature, measurements, files, data, training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gradatim.evidence.found import Evaluated, Inspected
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.statement import Bundle
from gradatim.files import canonical_json
from gradatim.lineage.record import Lineage
from gradatim.measurement import Measurement
from gradatim.signature import Signature


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
    before = {entry.path: (entry.size, entry.sha256) for entry in old[0].files}
    after = {entry.path: (entry.size, entry.sha256) for entry in new[0].files}
    files = tuple(
        (path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    )
    measured = _measurements(old), _measurements(new)
    told = sorted(measured[0].keys() | measured[1].keys())
    looked_at = _inputs(old[1]), _inputs(new[1])
    names = sorted(looked_at[0].keys() | looked_at[1].keys())
    signatures = _signature(old[1]), _signature(new[1])
    answers = _labels(old), _labels(new)
    return Difference(
        files,
        (old[0].size, new[0].size),
        tuple((label, measured[0].get(label), measured[1].get(label)) for label in told),
        tuple(
            (name, looked_at[0].get(name), looked_at[1].get(name))
            for name in names
            if looked_at[0].get(name) != looked_at[1].get(name)
        ),
        (signatures[0], signatures[1]) if signatures[0] and signatures[1] else None,
        (answers[0], answers[1]) if answers[0] and answers[1] else None,
        tuple(_training(_lineage(old[1]), _lineage(new[1]))),
    )


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


def _signature(evidence: Bundle) -> Signature | None:
    found = _inspected(evidence)
    return found.signature if found else None


def _lineage(evidence: Bundle) -> Lineage | None:
    found = _inspected(evidence)
    return found.lineage if found else None


def _inspected(evidence: Bundle) -> Inspected | None:
    return next((found for found in map(Inspected.if_any, evidence.of("inspect")) if found), None)


def _training(old: Lineage | None, new: Lineage | None) -> Iterator[tuple[str, str | None, str | None]]:
    if old is None or new is None:
        return
    before, after = _recorded(old), _recorded(new)
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield name, before.get(name), after.get(name)


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
