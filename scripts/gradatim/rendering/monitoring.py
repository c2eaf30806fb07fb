"""Prometheus' rules and a Grafana dashboard, from the gates on traffic: the same bytes from the same contract.

Names of rules are ``level:metric:operations``, as Prometheus' own guide wants them. A language model is watched under the names
of OpenTelemetry's ``gen_ai.*``, as its exporter writes them for Prometheus.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradatim.gates.rule import Rule

RUNBOOK = "https://github.com/gradatim/gradatim/blob/main/docs/how-to/monitor.md#what-an-alert-means"
"""Where an alert sends people who have no runbook of their own."""

TOKENS = {
    "time_to_first_token": "gen_ai_server_time_to_first_token_seconds",
    "time_per_output_token": "gen_ai_server_time_per_output_token_seconds",
}
"""What is watched of a language model besides, and its histogram."""

_WINDOW = "5m"
_NOTED = (
    "Rendered by `gradatim monitor render` from the gates of the contract. Change those, and render again."
)


@dataclass(frozen=True)
class Watched:
    """What is watched of a model.

    Attributes:
        name: the model's.
        requests: counter of requests.
        failed: matchers of those that failed.
        latency: histogram of seconds, without ``_bucket``.
        label: the label that holds the version.
        tokens: further histograms of seconds, by what they measure.
    """

    name: str
    requests: str
    failed: str
    latency: str
    label: str
    tokens: Mapping[str, str]


def language_model(name: str, label: str) -> Watched:
    """What OpenTelemetry's conventions for generative AI call it (status Development, 2025)."""
    duration = "gen_ai_server_request_duration_seconds"
    return Watched(name, f"{duration}_count", 'error_type!=""', duration, label, TOKENS)


def render_rules(watched: Watched, rules: Sequence[Rule], runbook: str = RUNBOOK) -> str:
    """Recording and alerting rules, as YAML for Prometheus' ``rule_files``."""
    import yaml

    groups = [
        {"name": f"{watched.name}.recorded", "interval": "30s", "rules": _recorded(watched, rules)},
        {
            "name": f"{watched.name}.gates",
            "rules": [*_alerts(watched, rules, runbook), _silence(watched, runbook)],
        },
    ]
    return f"# {_NOTED}\n" + yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000)


def render_dashboard(watched: Watched, rules: Sequence[Rule]) -> str:
    """A dashboard for Grafana to import: it asks for its data source, and brings no uid of its own."""
    panels = [
        _panel("Requests a second", _name(watched, "requests", f"rate{_WINDOW}"), "reqps", None),
        _panel(
            "Failed requests",
            _name(watched, "failed", f"ratio_rate{_WINDOW}"),
            "percentunit",
            _bound(rules, "errors"),
        ),
    ]
    quantiles = _quantiles(rules)
    panels += [
        _panel(
            f"Latency p{q}", _name(watched, "latency", f"p{q}_{_WINDOW}"), "s", _bound(rules, f"latency_p{q}")
        )
        for q in quantiles
    ]
    panels += [
        _panel(
            what.replace("_", " ").capitalize() + " p95", _name(watched, what, f"p95_{_WINDOW}"), "s", None
        )
        for what in watched.tokens
    ]
    for place, panel in enumerate(panels):
        panel |= {"id": place + 1, "gridPos": {"h": 8, "w": 12, "x": 12 * (place % 2), "y": 8 * (place // 2)}}
        for target in panel["targets"]:
            target["legendFormat"] = f"{{{{{watched.label}}}}}"
    source = {
        "name": "DS_PROMETHEUS",
        "label": "Prometheus",
        "type": "datasource",
        "pluginId": "prometheus",
        "pluginName": "Prometheus",
    }
    board = {
        "__inputs": [source],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
            {"type": "panel", "id": "timeseries", "name": "Time series", "version": ""},
        ],
        "annotations": {"list": []},
        "description": _NOTED,
        "editable": True,
        "graphTooltip": 1,
        "id": None,
        "links": [],
        "panels": panels,
        "refresh": "30s",
        "schemaVersion": 39,
        "tags": ["gradatim", watched.name],
        "templating": {"list": []},
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "title": f"{watched.name}: gates on traffic",
        "version": 1,
    }
    return json.dumps(board, indent=2, sort_keys=True) + "\n"


def recorded_name(watched: Watched, rule: Rule) -> str | None:
    """The recorded series that a gate is about; None where live traffic does not tell."""
    what = _what(rule)
    return None if what is None else _name(watched, *what)


def _recorded(watched: Watched, rules: Sequence[Rule]) -> list[dict[str, str]]:
    by = f"sum by ({watched.label})"
    total = f"{by} (rate({watched.requests}[{_WINDOW}]))"
    failed = f"{by} (rate({watched.requests}{{{watched.failed}}}[{_WINDOW}]))"
    found = [
        _record(watched, "requests", f"rate{_WINDOW}", total),
        # a version without a failure has no series of failures: none is zero
        _record(watched, "failed", f"ratio_rate{_WINDOW}", f"({failed} or 0 * {total}) / {total}"),
    ]
    histograms = [("latency", watched.latency, q) for q in _quantiles(rules)]
    histograms += [(what, name, 95) for what, name in watched.tokens.items()]
    for what, name, q in histograms:
        buckets = f"sum by ({watched.label}, le) (rate({name}_bucket[{_WINDOW}]))"
        found.append(_record(watched, what, f"p{q}_{_WINDOW}", f"histogram_quantile({q / 100:g}, {buckets})"))
    return found


def _record(watched: Watched, what: str, how: str, expression: str) -> dict[str, str]:
    return {"record": _name(watched, what, how), "expr": expression}


def _alerts(watched: Watched, rules: Sequence[Rule], runbook: str) -> list[dict[str, Any]]:
    found = []
    for rule in rules:
        series = recorded_name(watched, rule)
        if series is None:
            continue
        unit = "% of requests" if rule.metric == "errors" else "s"
        value = (
            "{{ $value | humanizePercentage }}"
            if rule.metric == "errors"
            else "{{ $value | humanizeDuration }}"
        )
        if rule.bound == "at_most":
            expression, wanted = (
                f"{series} > {rule.amount:g}",
                f"at most {100 * rule.amount:g} {unit}"
                if rule.metric == "errors"
                else f"at most {rule.amount:g} s",
            )
        else:
            # beside the best of the versions that run in the same minutes
            best = f"scalar(min({series}))"
            allowed = (
                f"{best} + {rule.amount:g}" if rule.metric == "errors" else f"{best} * {1 + rule.amount:g}"
            )
            expression, wanted = (
                f"{series} > {allowed}",
                f"{100 * rule.amount:g} {'points' if rule.metric == 'errors' else '%'} beside the other versions",
            )
        found.append(
            _alert(watched, _camel(rule.metric), expression, "10m", runbook,
                   f"{{{{ $labels.{watched.label} }}}} of {watched.name}: {rule.metric} is {value}, wanted {wanted}.")
        )  # fmt: skip
    return found


def _silence(watched: Watched, runbook: str) -> dict[str, Any]:
    """A model that nobody counts is none that is well."""
    series = _name(watched, "requests", f"rate{_WINDOW}")
    text = f"No request to {watched.name} is counted: it is away, or its metric {watched.requests} is."
    return _alert(watched, "NoTraffic", f"absent({series}) or sum({series}) == 0", "15m", runbook, text)


def _alert(
    watched: Watched, name: str, expression: str, wait: str, runbook: str, summary: str
) -> dict[str, Any]:
    return {
        "alert": f"{_camel(watched.name)}{name}",
        "expr": expression,
        "for": wait,
        "labels": {"severity": "page", "model": watched.name},
        "annotations": {"summary": summary, "runbook_url": runbook},
    }


def _what(rule: Rule) -> tuple[str, str] | None:
    """What is recorded that a gate is about; None where live traffic does not tell."""
    if rule.bound not in ("at_most", "not_worse"):
        return None
    if rule.metric == "errors":
        return "failed", f"ratio_rate{_WINDOW}"
    quantile = re.fullmatch(r"latency_p(\d+)", rule.metric)
    return ("latency", f"p{quantile[1]}_{_WINDOW}") if quantile else None


def _quantiles(rules: Sequence[Rule]) -> list[int]:
    """The gates' own, and the median and p95 always."""
    found = {int(match[1]) for rule in rules if (match := re.fullmatch(r"latency_p(\d+)", rule.metric))}
    return sorted({50, 95} | found)


def _bound(rules: Sequence[Rule], metric: str) -> float | None:
    return min(
        (rule.amount for rule in rules if rule.metric == metric and rule.bound == "at_most"), default=None
    )


def _name(watched: Watched, what: str, how: str) -> str:
    """``version:digits_failed:ratio_rate5m``."""
    metric = re.sub(r"\W", "_", f"{watched.name}_{what}")
    return f"{watched.label}:{metric}:{how}"


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"[\W_]+", name))


def _panel(title: str, series: str, unit: str, bound: float | None) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    custom: dict[str, Any] = {}
    if bound is not None:
        steps.append({"color": "red", "value": bound})
        custom = {"thresholdsStyle": {"mode": "line"}}
    return {
        "title": title,
        "type": "timeseries",
        "datasource": source,
        "targets": [{"datasource": source, "expr": series, "refId": "A"}],
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "min": 0,
                "custom": custom,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }
