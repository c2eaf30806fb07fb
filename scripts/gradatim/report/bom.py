"""The ML-BOM: ``ml-bom.cdx.json``, a CycloneDX 1.6 document [1]_ of the model, its files, its data and its frameworks.

Like the model card it tells of the bytes, not of a version, and holds no clock: the same report gives the same bytes.
cyclonedx-python-lib has no classes for a model card, so the document is put together here; tests validate it with that
library's strict schema.

.. [1] https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from gradatim import __version__
from gradatim.contract.model_formats import FORMATS
from gradatim.files import digest_of
from gradatim.lineage.record import Lineage as Training
from gradatim.report.model import Card, Report

_SUPERVISED = (
    "classification",
    "multilabel_classification",
    "token_classification",
    "segmentation",
    "detection",
    "regression",
    "forecasting",
    "ranking",
)
_MODEL = "model"
_METRICS = 2000


def render_bom(report: Report) -> str:
    """The document as JSON text."""
    training = report.lineage.training if report.lineage else None
    runtime, trained_with = _runtime(report), _trained_with(training)
    data = [*_data(report), *_training_data(training)]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "gradatim", "version": __version__}],
            },
            "component": _model(report, training, [component["bom-ref"] for component in data]),
        },
        "components": [*data, *runtime, *trained_with],
        "dependencies": [
            {"ref": _MODEL, "dependsOn": [component["bom-ref"] for component in runtime]},
            *({"ref": component["bom-ref"]} for component in (*data, *runtime, *trained_with)),
        ],
    }
    # from the content, not from a clock or chance; two documents about the same model bytes stay two
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:gradatim:ml-bom:{digest_of(document)}")
    whole = {"serialNumber": f"urn:uuid:{serial}", **document}
    return json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _model(report: Report, training: Training | None, data: list[str]) -> dict[str, Any]:
    card, seen = report.card or Card(), report.inspection
    files = tuple({file.path: file for file in seen.files}.values()) if seen else ()
    manifest = report.lineage.manifest if report.lineage else None
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": report.name,
        "modelCard": _card(report, card, training, data),
        "properties": _properties(
            {
                "manifest": f"sha256:{manifest}" if manifest else None,
                "variant": report.chosen,
                "format": seen.format if seen else None,
                "opset": seen.opset if seen else None,
                "parameters": seen.parameters if seen else None,
            }
        ),
    }
    if card.description:
        found["description"] = card.description
    if card.license:
        found["licenses"] = [{"expression": card.license}]
    if len(files) == 1:
        found["hashes"] = _hashes(files[0].sha256)
    if files:
        found["components"] = [
            {
                "type": "file",
                "bom-ref": f"file:{file.path}",
                "name": file.path,
                "hashes": _hashes(file.sha256),
                "properties": _properties({"size": file.size}),
            }
            for file in files
        ]
    return found


def _card(report: Report, card: Card, training: Training | None, data: list[str]) -> dict[str, Any]:
    seen = report.inspection
    parameters: dict[str, Any] = {"datasets": [{"ref": reference} for reference in data]}
    if report.task:
        parameters["task"] = report.task
    if report.task in _SUPERVISED:
        parameters["approach"] = {"type": "supervised"}
    if seen:
        parameters["inputs"] = [{"format": tensor} for tensor in seen.inputs]
        parameters["outputs"] = [{"format": tensor} for tensor in seen.outputs]
    found: dict[str, Any] = {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(report))[:_METRICS]},
    }
    considerations: dict[str, Any] = {}
    if card.intended_use:
        considerations["useCases"] = [card.intended_use]
    if limits := [*card.limitations, *report.hints]:
        considerations["technicalLimitations"] = limits
    if considerations:
        found["considerations"] = considerations
    if training:
        found["properties"] = _properties(
            {
                "training:source": training.source,
                "training:seed": training.seed,
                "training:commit": training.commit,
                **{f"training:parameter:{name}": value for name, value in training.parameters.items()},
                **{f"training:metric:{name}": metric.value for name, metric in training.metrics.items()},
            }
        )
    return found


def _metrics(report: Report) -> Iterator[dict[str, Any]]:
    """What was measured of the chosen variant; units other than a plain number stand behind the name."""
    for found in report.measurements:
        if found.variant != report.chosen or found.value is None:
            continue
        entry: dict[str, Any] = {
            "type": found.name if found.unit == "1" else f"{found.name} ({found.unit})",
            "value": f"{found.value:.9g}",
        }
        if found.where:
            entry["slice"] = found.where
        if found.low is not None and found.high is not None:
            entry["confidenceInterval"] = {
                "lowerBound": f"{found.low:.9g}",
                "upperBound": f"{found.high:.9g}",
            }
        yield entry


def _data(report: Report) -> Iterator[dict[str, Any]]:
    for data in report.data:
        yield _dataset(f"data:{data.role}", data.path, data.role, data.sha256, {"rows": data.rows})


def _training_data(training: Training | None) -> Iterator[dict[str, Any]]:
    for name, used in training.data.items() if training else ():
        told = {"path": used.path, "digest": used.digest}
        yield _dataset(f"training-data:{name}", name, used.use, used.sha256, told)


def _dataset(
    reference: str, name: str, use: str, sha256: str | None, told: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": reference,
        "name": name,
        "data": [{"type": "dataset", "name": name}],
        **({"hashes": _hashes(sha256)} if sha256 else {}),
        "properties": _properties({"use": use, **told}),
    }


def _runtime(report: Report) -> list[dict[str, Any]]:
    """The frameworks that ran the model when it was measured."""
    seen = report.inspection
    versions = report.lineage.environment if report.lineage else {}
    names = FORMATS[seen.format].packages if seen and seen.format in FORMATS else ()
    builds = [build for name in names for build in (name, f"{name}-gpu")]
    return [_package(name, versions[name], "runtime", name) for name in builds if name in versions]


def _trained_with(training: Training | None) -> list[dict[str, Any]]:
    versions = training.environment if training else {}
    return [_package(name, version, "training", f"training:{name}") for name, version in versions.items()]


def _package(name: str, version: str, role: str, reference: str) -> dict[str, Any]:
    plain = name.isascii() and " " not in name and name.lower() not in ("python", "cuda", "device", "gpu")
    return {
        "type": "framework",
        "bom-ref": f"package:{reference}",
        "name": name,
        "version": version,
        **({"purl": f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}"} if plain else {}),
        "properties": _properties({"role": role}),
    }


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {"name": f"gradatim:{name}", "value": value if isinstance(value, str) else json.dumps(value)}
        for name, value in values.items()
        if value is not None
    ]
