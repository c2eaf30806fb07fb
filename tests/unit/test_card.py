"""The model card: what the Hugging Face Hub reads in it, what a person reads in it, and that it is always the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import report_examples as examples
import yaml

from gradatim.candidate.workspace import Workspace
from gradatim.gates.verdict import Verdict
from gradatim.lineage.record import DataUsed, Lineage, LoggedMetric
from gradatim.report.card import front_matter, judged_quality, render_card
from gradatim.report.hub_score import render_score
from gradatim.report.model import Benchmark, Card, DataSet, Report
from gradatim.report.model import Provenance as From
from gradatim.report.writing import write_documents

SAID = Card(
    license="Apache-2.0",
    description="Reads digits.",
    intended_use="Post codes.",
    limitations=("Digits that lie on their side.",),
    tags=("digits",),
)
TRAINED = Lineage(
    "lineage.json",
    {"lr": 0.003, "note": "<b>| `x`"},
    {"train": DataUsed("training", examples.SHA, "data/train.npz")},
    {"loss": LoggedMetric(0.37, ((0, 2.3), (10, 0.37)), 11)},
    3,
    environment={"torch": "2.6.0"},
)


def documented(report: Report) -> Report:
    """An example with everything that a card may say."""
    return replace(
        report,
        card=SAID,
        modality="image",
        data=(DataSet("evaluation", "data/test.npz", examples.SHA, 597),),
        lineage=replace(report.lineage or From(), training=TRAINED),
    )


@pytest.fixture(params=["passed", "refused"])
def report(request) -> Report:
    return documented(getattr(examples, request.param)())


def test_the_hub_reads_every_metric_with_its_task_and_data_set(report):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(render_card(report))
    found = {result.metric_type: result for result in card.data.eval_results}
    for measured in judged_quality(report):
        assert found[measured.name].metric_value == pytest.approx(measured.value, rel=1e-5)
        assert found[measured.name].dataset_type == "test"
    assert found
    assert card.data.model_name == report.name
    assert card.data.license == "apache-2.0"
    assert "gradatim" in card.data.tags


def test_the_front_matter_names_library_and_pipeline_only_where_they_are_certain(report):
    found = front_matter(report)
    assert found["library_name"] == "onnx"
    assert found["pipeline_tag"] == "image-classification"
    bare = front_matter(Report("tiny", Verdict.PASS, task="classification"))
    assert bare == {"tags": ["gradatim"]}


def test_a_card_says_how_it_was_judged_what_it_cannot_and_how_to_check_it(report):
    text = render_card(report)
    for wanted in (
        "Reads digits.",
        "## Intended use",
        "lie on their side",
        "## Gates",
        "data/test.npz",
        "gradatim verify",
    ):
        assert wanted in text
    assert ("Not released" in text) == (report.verdict is not Verdict.PASS)
    assert "0.003" in text
    assert "<b>" not in text


@pytest.mark.parametrize("name", ["regression", "hostile", "least"])
def test_whatever_a_report_holds_its_card_is_sound(name):
    report = documented(getattr(examples, name)())
    _, front, text = render_card(report).split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "apache-2.0"
    assert "<script" not in text
    assert "\x00" not in text


def test_the_least_report_still_makes_a_card():
    text = render_card(Report("tiny", Verdict.PASS))
    assert yaml.safe_load(text.split("---")[1]) == {"tags": ["gradatim"]}
    assert "# tiny" in text


def test_a_licence_that_the_hub_has_no_name_for_is_told_as_other(report):
    found = front_matter(replace(report, card=Card(license="MIT OR Apache-2.0")))
    assert (found["license"], found["license_name"]) == ("other", "MIT OR Apache-2.0")


def test_the_same_report_gives_the_same_documents_and_a_refused_one_none(tmp_path):
    report, workspace = documented(examples.passed()), Workspace(tmp_path)
    first = [path.read_bytes() for path in write_documents(report, workspace)]
    again = [path.read_bytes() for path in write_documents(Report.from_json(report.to_json()), workspace)]
    assert len(first) == 2
    assert first == again
    assert write_documents(documented(examples.refused()), workspace) == ()
    assert list(workspace.folder.iterdir()) == []


def test_a_score_for_the_hub_is_a_percentage_of_the_metric_that_the_contract_names():
    hub = pytest.importorskip("huggingface_hub")
    benchmark = Benchmark("team/digits", "default", "accuracy", "a" * 40)
    report = replace(documented(examples.passed()), card=replace(SAID, benchmark=benchmark))
    (entry,) = hub.parse_eval_result_entries(yaml.safe_load(render_score(report)))
    accuracy = next(m for m in judged_quality(report) if m.name == "accuracy")
    assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == ("team/digits", "default", "a" * 40)
    assert entry.value == pytest.approx(100 * accuracy.value, rel=1e-5)
    assert front_matter(report)["datasets"] == ["team/digits"]
    assert render_score(documented(examples.passed())) == ""
