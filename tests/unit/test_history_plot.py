"""Size, quality and time over the versions: what is drawn, and what is never joined."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from gate_project import lay_down

from gradatim.cli import cli
from gradatim.evidence.statement import Statement
from gradatim.evidence.trend import Version, trends
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.report.pictures.history import draw_history


def version(label: str, seconds: float, machine: str, data: str = "d1", accuracy: float = 0.9) -> Version:
    """A release that was timed on a kind of machine and evaluated on some data."""
    digest = label.encode().hex()

    def measured(step: str, inputs: dict[str, str], *found: Measurement) -> Statement:
        return Statement(step, {"int8": digest, "original": "0"}, Verdict.PASS, "1", inputs, found)

    slow = Measurement("latency_p50", "original", 10 * seconds, "s")
    return (
        label,
        digest,
        (
            measured(
                "benchmark", {"machine": machine}, slow, Measurement("latency_p50", "int8", seconds, "s")
            ),
            measured(
                "evaluate",
                {"evaluation": data},
                Measurement("accuracy", "int8", accuracy, low=0.8, high=0.95),
            ),
            measured("inspect", {}, Measurement("size", "int8", 4e6, "B")),
        ),
    )


HISTORY = [
    version("v1.0.0", 0.010, "amd"),
    version("v1.1.0", 0.011, "amd"),
    version("v1.2.0", 0.004, "arm", "d2"),
    version("v1.3.0", 0.012, "amd", "d2"),
]


def test_times_of_different_machines_and_qualities_on_other_data_are_never_joined() -> None:
    size, accuracy, time = trends(HISTORY)
    assert [trend.metric for trend in (size, accuracy, time)] == ["size", "accuracy", "latency_p50"]
    assert [[point.version for point in run] for run in time.runs()] == [
        ["v1.0.0", "v1.1.0"],
        ["v1.2.0"],
        ["v1.3.0"],
    ]
    assert [len(run) for run in accuracy.runs()] == [2, 2]
    assert [len(run) for run in size.runs()] == [4]
    assert [point.value for point in time.points] == [0.010, 0.011, 0.004, 0.012], (
        "of the form that was released"
    )


def test_the_picture_has_a_point_a_version_and_a_line_only_within_a_run() -> None:
    drawn = draw_history(trends(HISTORY))
    assert drawn.count("<circle") == 12
    assert drawn.count("<polyline") == 4
    assert "v1.2.0: 4.0 ms" in drawn.replace("\N{NO-BREAK SPACE}", " ").replace(
        "\N{NARROW NO-BREAK SPACE}", " "
    )
    assert draw_history(trends(HISTORY[:1])) == ""


def test_releases_are_drawn_in_the_terminal_and_with_the_candidate_in_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(60) % 3
    wrong = np.where(np.arange(60) < 6, (labels + 1) % 3, labels)
    project = lay_down(tmp_path, labels, labels, wrong)
    project.contract("accuracy: {at_least: 50%}")
    project.judge()
    project.announce("v1.1.0")
    project.another_candidate(0.5)
    project.judge()
    monkeypatch.chdir(project.root)
    assert "Over the versions" in (project.root / ".gradatim/report.html").read_text()
    told = json.loads((project.root / ".gradatim/report.json").read_text())["history"]
    assert [point["version"] for point in told[-1]["points"]] == ["v1.1.0", "candidate"]
    shown = CliRunner().invoke(cli, ["history", "--plot"], standalone_mode=False)
    assert shown.exception is None, shown.exception
    assert "accuracy" in shown.stdout
    assert "v1.1.0 90.0 %" in shown.stdout.replace("\N{NO-BREAK SPACE}", " ").replace(
        "\N{NARROW NO-BREAK SPACE}", " "
    )
    as_json = CliRunner().invoke(cli, ["history", "--plot", "--json"], standalone_mode=False)
    assert {trend["metric"] for trend in json.loads(as_json.stdout)["trends"]} >= {"accuracy"}
