"""The ML-BOM: valid CycloneDX, whole, and the same bytes for the same report."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import pytest
import report_examples as examples
from test_card import SAID, documented

from gradatim.evidence.manifest import FileEntry
from gradatim.gates.verdict import Verdict
from gradatim.report.bom import render_bom
from gradatim.report.model import Card, Report


@pytest.mark.parametrize("name", ["passed", "refused", "regression", "hostile", "least"])
def test_cyclonedx_takes_it(name):
    validation = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    report = Report("tiny", Verdict.PASS) if name == "least" else documented(getattr(examples, name)())
    for one in (report, replace(report, card=Card(license="MIT OR Apache-2.0"))):
        found = validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(render_bom(one))
        assert found is None, found


def test_it_holds_every_file_every_data_set_and_every_metric_with_its_interval():
    report = documented(examples.passed())
    bom = json.loads(render_bom(report))
    model = bom["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["licenses"] == [{"expression": SAID.license}]
    hashes = {file["name"]: file["hashes"][0]["content"] for file in model["components"]}
    assert hashes == {file.path: file.sha256 for file in report.inspection.files}
    data = {one["bom-ref"]: one for one in bom["components"] if one["type"] == "data"}
    assert data["data:evaluation"]["hashes"][0]["content"] == examples.SHA
    assert data["training-data:train"]["hashes"][0]["content"] == examples.SHA
    assert [entry["ref"] for entry in model["modelCard"]["modelParameters"]["datasets"]] == list(data)
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    mine = [m for m in report.measurements if m.variant == report.chosen and m.value is not None]
    assert len(metrics) == len(mine)
    accuracy = next(m for m in metrics if m["type"] == "accuracy" and "slice" not in m)
    assert set(accuracy["confidenceInterval"]) == {"lowerBound", "upperBound"}
    assert {"gradatim:training:parameter:lr"} <= {p["name"] for p in model["modelCard"]["properties"]}


def test_every_reference_leads_to_a_component():
    bom = json.loads(render_bom(documented(examples.passed())))
    known = {one["bom-ref"] for one in (bom["metadata"]["component"], *bom["components"])}
    assert known == {entry["ref"] for entry in bom["dependencies"]}
    for entry in bom["dependencies"]:
        assert set(entry.get("dependsOn", ())) <= known


def test_the_serial_number_comes_from_the_content_and_from_no_clock():
    report = documented(examples.passed())
    assert render_bom(report) == render_bom(Report.from_json(report.to_json()))
    serial = json.loads(render_bom(report))["serialNumber"]
    assert uuid.UUID(serial.removeprefix("urn:uuid:")).version == 5
    other = replace(report.inspection, files=(FileEntry("other.onnx", 1, "0" * 64),))
    assert json.loads(render_bom(replace(report, inspection=other)))["serialNumber"] != serial
