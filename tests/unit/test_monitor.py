"""What watches a release: rules that Prometheus reads, a dashboard that Grafana imports, drift that is proven and matters."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from gate_project import GateProject, lay_down
from registry_examples import act_as_ada

from gradatim.checks.canary import rules_of
from gradatim.cli import cli
from gradatim.contract.reading import contract_of
from gradatim.errors import InvalidInput
from gradatim.gates.drift import drift
from gradatim.gates.verdict import Verdict
from gradatim.rendering.monitoring import Watched, language_model, render_dashboard, render_rules

GATES = """
canary:
  errors: {at_most: 0.5%}
  latency_p95: {at_most: 250 ms}
  latency_p99: {not_slower_than: baseline, by: 10%}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    act_as_ada(monkeypatch)
    answers = np.random.default_rng(1).integers(0, 3, 300)
    made = lay_down(tmp_path, answers, answers, answers)
    made.contract("accuracy: {at_least: 20%}")
    (made.root / "gradatim.yml").write_text((made.root / "gradatim.yml").read_text() + GATES)
    monkeypatch.chdir(made.root)
    return made


def monitor(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["monitor", *arguments], standalone_mode=False)


def test_what_is_rendered_is_the_same_each_time_and_drift_of_it_is_told(project: GateProject) -> None:
    assert monitor("render", "--check").return_value == 1
    assert monitor("render").return_value == 0
    folder = project.root / "monitoring"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(first) == ["small.dashboard.json", "small.rules.yml"]
    assert monitor("render", "--check").return_value == 0
    assert monitor("render").return_value == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    (folder / "small.rules.yml").write_text("groups: []\n")
    done = monitor("render", "--check")
    assert (done.return_value, "small.rules.yml" in done.stderr, "dashboard" in done.stderr) == (
        1,
        True,
        False,
    )


def test_each_gate_is_an_alert_with_a_summary_and_a_runbook(project: GateProject) -> None:
    monitor("render", "--runbook", "https://wiki.example.org/small", "--label", "model_version")
    groups = yaml.safe_load((project.root / "monitoring" / "small.rules.yml").read_text())["groups"]
    recorded, alerts = (group["rules"] for group in groups)
    assert all(re.fullmatch(r"model_version:\w+:\w+", rule["record"]) for rule in recorded)
    assert [rule["alert"] for rule in alerts] == [
        "SmallErrors",
        "SmallLatencyP95",
        "SmallLatencyP99",
        "SmallNoTraffic",
    ]
    names = {rule["record"] for rule in recorded}
    for rule in alerts:
        assert set(re.findall(r"model_version:\w+:\w+", rule["expr"])) <= names
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == "https://wiki.example.org/small"
    assert "> 0.005" in alerts[0]["expr"]
    assert "> 0.25" in alerts[1]["expr"]
    assert "* 1.1" in alerts[2]["expr"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="apt-get install prometheus")
def test_promtool_takes_the_rules_and_the_alerts_go_off_when_they_should(project: GateProject) -> None:
    monitor("render")
    path = project.root / "monitoring" / "small.rules.yml"
    for name in (path, _rules_file(project.root / "llm.yml", language_model("helper", "version"))):
        done = subprocess.run(
            ["promtool", "check", "rules", str(name)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    counters = [
        ('http_requests_total{version="v1.1.0",code="200"}', "0+960x40"),
        ('http_requests_total{version="v1.1.0",code="500"}', "0+40x40"),
        ('http_requests_total{version="v1.0.0",code="200"}', "0+1000x40"),
        ('http_request_duration_seconds_bucket{version="v1.1.0",le="0.1"}', "0+990x40"),
        ('http_request_duration_seconds_bucket{version="v1.1.0",le="+Inf"}', "0+1000x40"),
    ]
    summary = "v1.1.0 of small: errors is 4%, wanted at most 0.5 % of requests."
    labels = {"severity": "page", "model": "small", "version": "v1.1.0"}
    told = {"summary": summary, "runbook_url": "https://wiki.example.org"}
    tested = {
        "rule_files": [path.name],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in counters],
                "alert_rule_test": [
                    {
                        "eval_time": "30m",
                        "alertname": "SmallErrors",
                        "exp_alerts": [{"exp_labels": labels, "exp_annotations": told}],
                    },
                    {"eval_time": "30m", "alertname": "SmallLatencyP95", "exp_alerts": []},
                    {"eval_time": "30m", "alertname": "SmallNoTraffic", "exp_alerts": []},
                ],
            },
            {
                "interval": "1m",
                "input_series": [{"series": "other", "values": "0x40"}],
                "alert_rule_test": [{"eval_time": "5m", "alertname": "SmallNoTraffic", "exp_alerts": []}],
            },
        ],
    }
    monitor("render", "--runbook", "https://wiki.example.org")
    (path.parent / "test.yml").write_text(yaml.safe_dump(tested))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _rules_file(path: Path, watched: Watched) -> Path:
    contract = contract_of("model: {name: m, path: m.onnx}\n" + GATES, path)
    path.write_text(render_rules(watched, rules_of(contract, None)))
    return path


def test_a_language_model_is_watched_under_the_names_of_opentelemetry() -> None:
    contract = contract_of("model: {name: m, path: m.onnx}\n" + GATES, Path("gradatim.yml"))
    text = render_rules(language_model("helper", "version"), rules_of(contract, None))
    for name in ("request_duration", "time_to_first_token", "time_per_output_token"):
        assert f"gen_ai_server_{name}_seconds_bucket" in text
    assert "http_requests" not in text


def test_a_dashboard_asks_for_its_source_and_brings_no_identity(project: GateProject) -> None:
    monitor("render")
    board = json.loads((project.root / "monitoring" / "small.dashboard.json").read_text())
    assert "uid" not in board
    assert board["id"] is None
    assert board["schemaVersion"] >= 36
    [source] = board["__inputs"]
    assert (source["type"], source["pluginId"]) == ("datasource", "prometheus")
    rules = yaml.safe_load((project.root / "monitoring" / "small.rules.yml").read_text())["groups"][0][
        "rules"
    ]
    shown = [panel["targets"][0]["expr"] for panel in board["panels"]]
    assert shown == [rule["record"] for rule in rules]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len({panel["id"] for panel in board["panels"]}) == len(places)
    assert all(panel["datasource"]["uid"] == "${DS_PROMETHEUS}" for panel in board["panels"])
    assert board["panels"][1]["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] == 0.005
    assert render_dashboard(language_model("helper", "version"), ())


def test_drift_of_inputs_and_answers_is_told_by_column(project: GateProject) -> None:
    rows = np.load("test.npz")["x"]
    np.savez("same.npz", x=np.random.default_rng(5).permutation(rows)[:200])
    done = monitor("drift", "same.npz", "--version", "v1.0.0", "--json")
    assert done.return_value == 0, (done.output, done.exception)
    told = json.loads(done.stdout)
    assert told["model"] == "v1.0.0"
    assert {one["column"] for one in told["columns"]} == {"answer", *(f"x[{i}]" for i in range(6))}
    np.savez("more.npz", x=rows[rows[:, 0] == 1][:90])  # the first class alone
    done = monitor("drift", "more.npz", "--json")
    assert done.return_value == 1
    changed = {one["column"] for one in json.loads(done.stdout)["columns"] if one["verdict"] == "FAIL"}
    assert "answer" in changed
    np.savez("few.npz", x=rows[:10])
    done = monitor("drift", "few.npz")
    assert (done.return_value, "too few rows" in done.output) == (1, True)
    np.savez("narrow.npz", x=rows[:50, :5])
    assert isinstance(monitor("drift", "narrow.npz").exception, InvalidInput)


def test_columns_of_a_table_are_found_by_their_names_whatever_their_order_and_what_else_there_is(
    project: GateProject,
) -> None:
    held = np.load("test.npz")
    rows = np.column_stack([held["x"], held["label"]])
    names = ["age", "weight", "height", "north", "south", "west"]
    write_table("test.csv", rows, [*names, "label"])
    contract = project.root / "gradatim.yml"
    contract.write_text(contract.read_text().replace("test.npz", "test.csv"))
    order = np.random.default_rng(5).permutation(len(rows))[:200]
    turned = np.column_stack([rows[order, 5::-1], rows[order, 0]])
    write_table("turned.csv", turned, [*names[::-1], "weather"])
    done = monitor("drift", "turned.csv", "--version", "v1.0.0", "--json")
    assert done.return_value == 0, (done.output, done.exception)
    assert {one["column"] for one in json.loads(done.stdout)["columns"]} == {"answer", *names}
    write_table("narrow.csv", rows[:50, :5], names[:5])
    assert "west" in str(monitor("drift", "narrow.csv", "--version", "v1.0.0").exception)


def write_table(path: str, rows: Any, names: list[str]) -> None:
    lines = [",".join(names), *(",".join(f"{value:g}" for value in row) for row in rows.tolist())]
    Path(path).write_text("\n".join(lines) + "\n")


def columns(dice: np.random.Generator, n: int, **moved: float) -> dict[str, Any]:
    made: dict[str, Any] = {f"f{i}": dice.normal(moved.get(f"f{i}", 0.0), 1, n) for i in range(10)}
    made |= {f"c{i}": dice.choice(["a", "b", "c", "d"], n, p=[0.6, 0.3, 0.09, 0.01]) for i in range(5)}
    return made


def test_of_fifty_batches_like_the_data_at_most_one_is_called_changed() -> None:
    dice = np.random.default_rng(2)
    reference = columns(dice, 1000)
    alarms = sum(
        any(one.verdict is Verdict.FAIL for one in drift(reference, columns(dice, n)))
        for n in (60, 300)
        for _ in range(50)
    )
    assert alarms <= 1


def test_a_change_that_matters_is_found_and_one_that_does_not_is_left() -> None:
    dice = np.random.default_rng(4)
    found = drift(columns(dice, 2000), columns(dice, 2000, f3=0.6))
    assert [one.column for one in found if one.verdict is Verdict.FAIL] == ["f3"]
    assert found[0].test == "KS"
    # of 200 000 rows a thirtieth of a deviation is proven, and does not matter
    tiny = drift(columns(dice, 200_000), columns(dice, 200_000, f3=0.03))
    assert all(one.verdict is Verdict.PASS for one in tiny)
    assert min(one.p for one in tiny) < 0.01


def test_values_that_are_new_or_rare_or_one_alone_are_compared_all_the_same() -> None:
    old = {"kind": np.array(["a"] * 500 + ["b"] * 3, object), "on": np.ones(503, bool)}
    new = {"kind": np.array(["a"] * 300 + ["z"] * 200, object), "on": np.ones(500, bool)}
    by = {one.column: one for one in drift(old, new)}
    assert (by["kind"].verdict, by["kind"].test) == (Verdict.FAIL, "chi-square")
    assert (by["on"].verdict, by["on"].p) == (Verdict.PASS, 1.0)
    with pytest.raises(InvalidInput, match="nothing to compare"):
        drift(old, {"kind": new["kind"]})
