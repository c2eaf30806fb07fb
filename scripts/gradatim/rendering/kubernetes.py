"""A release on Kubernetes: KServe's InferenceService, an Argo Rollout with its analysis, or a plain Deployment and Service.

The image is that of ``gradatim package --for docker``, which answers on port 8080. A version is a label of pods, never of a
selector, so that one revision follows the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.rendering.monitoring import Watched, recorded_name

if TYPE_CHECKING:
    from gradatim.gates.rule import Rule

PORT = 8080
STEPS = (5, 25, 50)
"""Per cent of the traffic at each step of a Rollout; the last step is all of it."""


@dataclass(frozen=True)
class Served:
    """One version for one stage.

    Attributes:
        name, stage, version, manifest: the model's, as released.
        source: image for a container, address of the model's files for KServe.
        format: KServe's word for the model's format: ``onnx``.
        percent: its part of the traffic, on KServe.
        beside: version and source of the release that has the rest; None where there is none.
    """

    name: str
    stage: str
    version: str
    manifest: str
    source: str
    format: str = "onnx"
    percent: int = 100
    beside: tuple[str, str] | None = None

    @property
    def called(self) -> str:
        """A name as Kubernetes wants it (RFC 1123): ``digits-production``."""
        plain = re.sub(r"[^a-z0-9]+", "-", f"{self.name}-{self.stage}".lower()).strip("-")
        return plain[:52].rstrip("-") or "model"

    @property
    def selector(self) -> dict[str, str]:
        return {"app.kubernetes.io/name": self.called, "app.kubernetes.io/component": "model"}

    def metadata(self) -> dict[str, Any]:
        """Name, labels, and what proves the bytes."""
        labels = {
            **self.selector,
            "app.kubernetes.io/version": self.version,
            "app.kubernetes.io/managed-by": "gradatim",
        }
        return {
            "name": self.called,
            "labels": labels,
            "annotations": {"gradatim/manifest": f"sha256:{self.manifest}"},
        }


def render_manifests(kind: str, served: Served, watched: Watched, rules: Sequence[Rule]) -> str:
    """The manifests of a kind, as one YAML stream: the same bytes from the same release and contract.

    Args:
        kind: ``kserve``, ``kserve-percent``, ``argo-rollouts`` or ``deployment``.
        watched: how its requests are counted, for Argo's analysis.
        rules: the gates on traffic.
    """
    import yaml

    made = {
        "kserve": _kserve, "kserve-percent": _kserve_percent, "argo-rollouts": _rollout, "deployment": _deployment,
    }[kind]  # fmt: skip
    head = f"# {served.name} {served.version} for {served.stage}, written by gradatim deploy.\n"
    return head + yaml.safe_dump_all(made(served, watched, rules), sort_keys=False, width=1000)


def _kserve(served: Served, _watched: Watched, _rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """The canary list of KServe 0.20: predictors have names, so that what was a canary is promoted without a restart."""

    def named(version: str, source: str) -> dict[str, Any]:
        return {"name": re.sub(r"[^a-z0-9]+", "-", version.lower()), **_predictor(served, version, source)}

    new = named(served.version, served.source)
    if served.beside is None:
        return _inference_service(served, {"predictor": new})
    canary = {"trafficPercent": served.percent, "predictor": new}
    return _inference_service(served, {"predictor": named(*served.beside), "canary": [canary]})


def _kserve_percent(served: Served, _watched: Watched, _rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """On Knative the revision before keeps the rest of the traffic."""
    part = {"canaryTrafficPercent": served.percent} if served.beside else {}
    predictor = {**part, **_predictor(served, served.version, served.source)}
    return _inference_service(served, {"predictor": predictor})


def _inference_service(served: Served, spec: dict[str, Any]) -> list[dict[str, Any]]:
    head = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    return [{**head, "metadata": served.metadata(), "spec": spec}]


def _predictor(served: Served, version: str, source: str) -> dict[str, Any]:
    model = {
        "modelFormat": {"name": served.format},
        "protocolVersion": "v2",
        "storageUri": source,
        "resources": _resources(),
    }
    labels = {"app.kubernetes.io/version": version}
    return {"labels": labels, "securityContext": {"runAsNonRoot": True}, "model": model}


def _deployment(served: Served, _watched: Watched, _rules: Sequence[Rule]) -> list[dict[str, Any]]:
    spec = {"replicas": 2, "selector": {"matchLabels": served.selector}, "template": _pods(served)}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": served.metadata(), "spec": spec},
        _service(served, ""),
    ]


def _rollout(served: Served, watched: Watched, rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """Steps that wait for `gradatim canary`; its absolute gates stand beside them as an analysis that errs to the safe side."""
    metrics = [
        metric for rule in rules if rule.bound == "at_most" and (metric := _metric(watched, rule)) is not None
    ]
    steps: list[dict[str, Any]] = []
    for percent in STEPS:
        steps += [{"setWeight": percent}, {"pause": {}}]
    canary: dict[str, Any] = {
        "stableService": served.called,
        "canaryService": f"{served.called}-canary",
        "steps": steps,
    }
    if metrics:
        canary["analysis"] = {
            "templates": [{"templateName": served.called}],
            "startingStep": 1,
            "args": [{"name": "version", "value": served.version}],
        }
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": served.selector},
        "template": _pods(served),
        "strategy": {"canary": canary},
    }
    analysis = {
        "args": [{"name": "version"}, {"name": "prometheus", "value": "http://prometheus:9090"}],
        "metrics": metrics,
    }
    found = [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": served.metadata(),
            "spec": spec,
        },
        _service(served, ""),
        _service(served, "-canary"),
    ]
    if metrics:
        found.append(
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "AnalysisTemplate",
                "metadata": served.metadata(),
                "spec": analysis,
            }
        )
    return found


def _metric(watched: Watched, rule: Rule) -> dict[str, Any] | None:
    """A gate as Argo's analysis. No measurement that failed, and no series that is missing, may count as success."""
    series = recorded_name(watched, rule)
    if series is None:
        return None
    seen = "len(result) > 0 && !isNaN(result[0])"
    query = f'{series}{{{watched.label}="{{{{args.version}}}}"}}'
    return {
        "name": rule.metric.replace("_", "-"),
        "interval": "1m",
        "initialDelay": "5m",
        "failureLimit": 0,
        "inconclusiveLimit": 3,
        "consecutiveErrorLimit": 0,
        "successCondition": f"{seen} && result[0] <= {rule.amount:g}",
        "failureCondition": f"{seen} && result[0] > {rule.amount:g}",
        "provider": {"prometheus": {"address": "{{args.prometheus}}", "query": query}},
    }


def _service(served: Served, suffix: str) -> dict[str, Any]:
    metadata = served.metadata()
    metadata["name"] += suffix
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": served.selector, "ports": ports},
    }


def _pods(served: Served) -> dict[str, Any]:
    """Pods as nobody in particular, on a root that is read only."""
    metadata = served.metadata()
    del metadata["name"]
    container = {
        "name": "model",
        "image": served.source,
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": "http"}, "periodSeconds": 5},
        "livenessProbe": {
            "httpGet": {"path": "/v2/health/live", "port": "http"},
            "periodSeconds": 20,
            "failureThreshold": 3,
        },
        "resources": _resources(),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108 (the pod's own)
    }
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    return {"metadata": metadata, "spec": spec}


def _resources() -> Mapping[str, Any]:
    return {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}}
