"""A model cut into stages answers as it did, and each stage takes less than the whole."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from test_calibration import LABELS, lay_down
from test_compression_strangers import byte_classifier, byte_rows, depthwise

from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.replaced import model_among
from gradatim.compression.recipe import Stages
from gradatim.compression.search import compress
from gradatim.compression.splitting import _cuts, memory_of, split
from gradatim.errors import InvalidInput
from gradatim.evidence.found import Compressed, Judged
from gradatim.models import open_model
from gradatim.pipeline.step import run_step
from gradatim.releasing.packaging import released_format

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("by", ["size", "time"])
@pytest.mark.parametrize("parts", [2, 4])
def test_the_stages_together_answer_as_the_whole_does(tmp_path: Path, parts: int, by: str) -> None:
    model = depthwise(tmp_path / "depthwise.onnx")
    rows = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
    paths = split(model, tmp_path / "stages", parts, by, {"x": rows})  # type: ignore[arg-type]
    assert len(paths) == parts
    with open_model(model, root=tmp_path) as whole, open_model(tmp_path / "stages", root=tmp_path) as stages:
        for some in (rows, rows[:1]):
            assert np.abs(whole({"x": some})["scores"] - stages({"x": some})["scores"]).max() < 1e-5
        assert list(stages({"x": rows})) == ["scores"]


def test_each_stage_takes_less_memory_than_the_whole(tmp_path: Path) -> None:
    model, rows = byte_classifier(tmp_path / "bytes.onnx"), {"bytes": byte_rows(2)}
    paths = split(model, tmp_path / "stages", 2, "size", rows)
    sizes = [path.stat().st_size for path in paths]
    assert max(sizes) < 0.95 * model.stat().st_size
    assert sum(sizes) < 1.05 * model.stat().st_size
    assert all(peak > 0 for peak in memory_of(paths, rows, 1))


def test_a_list_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    model = byte_classifier(tmp_path / "bytes.onnx")
    split(model, tmp_path / "stages", 2, "size", {"bytes": byte_rows(2)})
    for listed in (["../bytes.onnx"], ["stage-9.onnx"], [], None, [1]):
        (tmp_path / "stages" / "stages.json").write_text(
            json.dumps({"stages": listed, "outputs": ["scores"]})
        )
        with pytest.raises(InvalidInput, match=r"stages\.json"):
            open_model(tmp_path / "stages", root=tmp_path)


def test_a_release_of_stages_is_opened_as_a_whole_beside_whatever_is_to_replace_it(tmp_path: Path) -> None:
    model = byte_classifier(tmp_path / "bytes.onnx")
    stages = split(model, tmp_path / "stages", 2, "size", {"bytes": byte_rows(2)})
    files = [*(path.name for path in stages), "stages.json"]
    found = model_among(tmp_path / "stages", files, tmp_path / "bytes.onnx", read_by_others=False)
    with open_model(found, root=tmp_path) as whole:
        assert [spec.name for spec in whole.signature.outputs] == ["scores"]


def test_what_became_of_weights_with_a_factory_is_opened_without_it(tmp_path: Path) -> None:
    model = byte_classifier(tmp_path / "m.onnx")
    assert model_among(tmp_path, ["m.onnx"], Path("/elsewhere/m.safetensors"), read_by_others=False) == model


@pytest.mark.parametrize(
    ("built", "made", "released"),
    [
        ("safetensors", [], "safetensors"),
        ("safetensors", ["m.onnx"], "onnx"),
        ("pt2", ["m.tflite"], "litert"),
        ("onnx", ["stage-1.onnx", "stage-2.onnx", "stages.json"], "stages"),
    ],
)
def test_a_package_is_of_the_format_that_was_released(built: str, made: list[str], released: str) -> None:
    assert released_format(built, made) == released


def test_more_stages_than_nodes_are_refused_in_words(tmp_path: Path) -> None:
    model = byte_classifier(tmp_path / "bytes.onnx")
    with pytest.raises(InvalidInput, match="too few for 60 stages"):
        split(model, tmp_path / "stages", 60, "size", {"bytes": byte_rows(2)})


def doubled(path: Path) -> None:
    """Let a second node give what the model's one node gave."""
    import onnx
    from onnx import helper

    model = onnx.load(str(path))
    model.graph.node[0].output[0] = "inner"
    model.graph.node.append(helper.make_node("Add", ["inner", "inner"], ["scores"]))
    onnx.save(model, str(path))


def test_a_split_form_is_judged_and_preferred(tmp_path: Path) -> None:
    project = lay_down(tmp_path, LABELS, LABELS, LABELS, {})
    doubled(project.root / "model.onnx")
    with np.load(project.root / "test.npz") as found:
        np.savez(project.root / "calibration.npz", x=found["x"][:20])
    project.contract("accuracy: {at_least: 50%}", data="calibration: calibration.npz")
    path = project.root / "gradatim.yml"
    asked = "compress: {methods: [], keep: {fidelity: 99%}, split: {parts: 2}}\n"
    path.write_text(path.read_text(encoding="utf-8") + asked, encoding="utf-8")
    found = Compressed.of(run_step("compress", project.release()).statement)
    (trial,) = found.trials or ()
    assert "2 stages of" in trial.reason
    assert "of memory each" in trial.reason
    assert trial.quality["parity"] < 1e-6
    assert [form.name for form in found.variants] == ["original-split-2", ORIGINAL]
    for step in ("test", "evaluate", "benchmark"):
        run_step(step, project.release())
    assert Judged.of(run_step("gate", project.release()).statement).chosen == "original-split-2"


def test_a_model_is_cut_whatever_its_file_is_called(tmp_path: Path) -> None:
    model = byte_classifier(tmp_path / "bytes.onnx").rename(tmp_path / "bytes.model")
    rows = {"bytes": byte_rows(4)}
    found = compress(
        model, tmp_path / "out", calibration=lambda: iter([rows]), methods=[], stages=Stages(2, "size")
    )
    assert [(trial.name, trial.accepted) for trial in found.trials] == [("fp32-split-2", True)], found.reason


def test_finding_the_cuts_of_a_long_graph_takes_little_memory() -> None:
    tracemalloc.start()
    try:
        cuts = _cuts([1.0] * 3000, [0] * 3001, 3)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    assert cuts == [1000, 2000]
