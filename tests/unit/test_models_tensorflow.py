"""Keras models and SavedModels are run, written as ONNX and LiteRT, and each form is judged by its own runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from registry_examples import new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import InvalidInput
from gradatim.evidence.found import Compressed
from gradatim.models import convert_model, export_model, open_model
from gradatim.pipeline.step import run_step
from gradatim.signature import Signature, TensorSpec

tensorflow = pytest.importorskip("tensorflow", reason="nox -s tensorflow")

HERE = Path(__file__).parent / "keras_models"
COLORS = np.array([["red"], ["blue"], ["green"]])
NUMBERS = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
ROWS = {
    "a": np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32),
    "b": np.random.default_rng(2).normal(size=(6, 2)).astype(np.float32),
}


def test_a_keras_model_and_what_it_was_exported_to_answer_alike() -> None:
    with open_model(HERE / "words.keras", root=HERE) as model, open_model(HERE / "words", root=HERE) as saved:
        given = {"color": COLORS, "number": NUMBERS}
        assert model.signature.outputs == (TensorSpec("y", "float32", ("batch", 1)),)
        assert model(given)["y"].shape == (3, 1)
        assert saved(given)["output_0"].shape == (3, 1)
        with pytest.raises(InvalidInput, match="`color`"):
            model({"number": NUMBERS})


def test_a_model_of_text_takes_text() -> None:
    with open_model(HERE / "text.keras", root=HERE) as model:
        scores = model({"text": np.array(["good", "ugly bad day"])})["scores"]
        assert scores.shape == (2, 2)
        assert not np.array_equal(scores[0], scores[1])
        assert model.threads == 1


def test_the_signature_that_the_contract_declares_is_called() -> None:
    x = np.eye(3, dtype=np.float32)
    for output, wanted in (("y", x), ("e", x + 1)):
        told = Signature((), (TensorSpec(output, "unknown", None),))
        with open_model(HERE / "two_signatures", root=HERE, signature=told) as model:
            np.testing.assert_array_equal(model({"x": x})[output], wanted)


@pytest.mark.parametrize("numbers", ["onnx", "float", "dynamic", "int8"])
def test_inputs_and_outputs_keep_their_names_when_a_model_is_written_otherwise(
    tmp_path: Path, numbers: str
) -> None:
    path, out = HERE / "two_inputs.keras", tmp_path / ("m.onnx" if numbers == "onnx" else "m.tflite")
    with open_model(path, root=HERE) as model:
        if numbers == "onnx":
            export_model(model, path, ROWS, out)
        else:
            convert_model(model, path, [ROWS], out, numbers)
        row = {name: array[:1] for name, array in ROWS.items()}
        with open_model(out, root=tmp_path) as form:
            wanted, found = model(row), form(row)
    assert set(found) == {"big", "sum"}
    near = 0.1 if numbers == "int8" else 1e-5
    assert all(np.abs(found[name] - wanted[name]).max() < near for name in wanted)


def test_what_has_no_operator_elsewhere_is_a_reason(tmp_path: Path) -> None:
    path = HERE / "words.keras"
    given = {"color": COLORS, "number": NUMBERS}
    with open_model(path, root=HERE) as model, pytest.raises(InvalidInput, match="table"):
        export_model(model, path, given, tmp_path / "m.onnx")


@pytest.mark.timeout(900)  # each form imports TensorFlow anew
def test_a_network_of_digits_becomes_onnx_and_litert_each_judged_by_its_own_runtime(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    pixels, label = load_digits(return_X_y=True)
    pixels = (pixels / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    layers = [keras.layers.Conv2D(16, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((8, 8, 1), name="image"), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.fit(pixels[:1500], label[:1500], epochs=5, verbose=0)
    root = new_repository(tmp_path / "m")
    model.save(root / "m.keras")
    np.savez(root / "rows.npz", image=pixels[1500:1564], label=label[1500:1564])
    methods = ["int8-static", "litert-int8"]
    contract = {
        "model": {"name": "m", "path": "m.keras"},
        "data": {"calibration": "rows.npz", "label": "label"},
        "compress": {"keep": {"fidelity": "95%"}, "methods": methods},
    }
    (root / "gradatim.yml").write_text(yaml.safe_dump(contract))
    candidate = Candidate(read_contract(root / "gradatim.yml"), Laptop())
    found = Compressed.of(run_step("compress", candidate).statement)
    trials = {trial.name: trial for trial in found.trials or ()}
    assert set(trials) >= {"onnx", *methods}
    assert trials["onnx"].quality["parity"] < 1e-5
    for name in methods:
        assert trials[name].quality["fidelity"] > 0.95, name
        assert trials[name].latency_ratio is not None
    assert (trials["litert-int8"].size_ratio or 1) < 0.3
    best = candidate.anew(same_registry=True).forms.all[0]
    with candidate.model.open(best.path) as form:
        (scores,) = form({"image": pixels[1700:1710]}).values()
    assert (scores.argmax(axis=1) == label[1700:1710]).mean() > 0.7
