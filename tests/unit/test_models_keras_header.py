"""A Keras model or a SavedModel tells what it is, and whether it is harmless, without TensorFlow."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from init_project import invoke

from gradatim.ci.occasion import extras_of
from gradatim.contract.reading import read_contract
from gradatim.errors import InvalidInput
from gradatim.models import detect_format, inspect_model, open_model
from gradatim.models.saved_model_graph import messages
from gradatim.signature import Signature, TensorSpec

pytest.importorskip("google.protobuf")

HERE = Path(__file__).parent / "keras_models"
Json = dict[str, Any]


def members(name: str = "two_inputs") -> dict[str, bytes]:
    with zipfile.ZipFile(HERE / f"{name}.keras") as archive:
        return {each: archive.read(each) for each in archive.namelist()}


def packed(path: Path, files: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def refused(path: Path, *words: str) -> None:
    """Inspection names the doubt, opening is refused, and neither imports TensorFlow."""
    before = set(sys.modules)
    found = inspect_model(path, root=path.parent)
    assert found.signature is None
    (why,) = found.doubts.values()
    assert all(word in why for word in words), why
    with pytest.raises(InvalidInput, match=r"not proven harmless|a pickle"):
        open_model(path, root=path.parent)
    assert not {"tensorflow", "keras"} & (set(sys.modules) - before)


def entry(name: str, module: str | None, config: Any, own: str | None = None) -> Json:
    return {"class_name": name, "module": module, "config": config, "registered_name": own}


LAYER = {"name": "odd", "trainable": True}
HOSTILE: dict[str, tuple[Json, str]] = {
    "lambda": (entry("Lambda", "keras.layers", LAYER), "Lambda layer `odd`"),
    "lambda without a module": ({"class_name": "Lambda", "config": LAYER}, "Lambda"),
    "python lambda": (entry("__lambda__", "builtins", {"value": "4wEA"}), "Lambda"),
    "registered": (entry("Odd", None, LAYER, "Custom>Odd"), "Custom>Odd"),
    "posing as Keras's": (entry("Dense", "keras.layers", LAYER, "Custom>Dense"), "Custom>Dense"),
    "a class of another package": (entry("Popen", "subprocess", {"args": "true"}), "subprocess"),
    "a function of another package": (entry("function", "os", "system"), "'system' of 'os'"),
    "a builtin": (entry("function", "builtins", "exec"), "exec"),
    "a function that fetches": (entry("function", "keras.utils", "get_file"), "get_file"),
    "a folder": (entry("TFSMLayer", "keras.layers", {**LAYER, "filepath": "other"}), "TFSMLayer"),
    "torch": (entry("TorchModuleWrapper", "keras.layers", {**LAYER, "module": "gAN9"}), "TorchModuleWrapper"),
    "a file of words": (
        entry("StringLookup", "keras.layers", {**LAYER, "vocabulary": "/etc/passwd"}),
        "/etc/passwd",
    ),
    "a type": ({**entry("__typespec__", "tensorflow", []), "spec_name": "TensorSpec"}, "tensorflow"),
    "inside": (
        entry("TimeDistributed", "keras.layers", {**LAYER, "layer": entry("Lambda", "keras.layers", LAYER)}),
        "Lambda",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_layer_that_would_do_more_than_compute_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    layer, word = HOSTILE[kind]
    files = members()
    config = json.loads(files["config.json"])
    config["config"]["layers"].append(layer)
    files["config.json"] = json.dumps(config).encode()
    refused(packed(tmp_path / "m.keras", files), word)


def test_how_a_model_was_compiled_does_not_count_since_that_is_not_loaded(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    files = members()
    config = json.loads(files["config.json"])
    config["compile_config"] = {"loss": entry("function", "train", "my_loss")}
    files["config.json"] = json.dumps(config).encode()
    assert inspect_model(packed(tmp_path / "m.keras", files), root=tmp_path).doubts == {}


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    files = members()
    files["config.json"] = b'{"class_name": "Lambda",' + files["config.json"][1:]
    refused(packed(tmp_path / "m.keras", files), "config.json", "no plain JSON")


def test_what_keras_does_not_write_is_refused(tmp_path: Path) -> None:
    refused(packed(tmp_path / "m.keras", members() | {"more.bin": b"1"}), "more.bin")
    pickled = {"assets/layers/words/words.txt": pickle.dumps(print)}
    refused(packed(tmp_path / "n.keras", members() | pickled), "words.txt", "pickle")
    files = members()
    del files["model.weights.h5"]
    refused(packed(tmp_path / "o.keras", files), "model.weights.h5")


def test_a_small_file_of_huge_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members().items():
            if not name.endswith(".h5"):
                archive.writestr(name, data)
        with archive.open("model.weights.h5", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
    refused(path, "unpacked")


@pytest.mark.parametrize(
    "kind", ["a link", "a soft link", "a file beside it", "mapped", "nothing behind", "another model"]
)
def test_weights_that_lie_elsewhere_are_refused(tmp_path: Path, kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    np.zeros(4, np.float32).tofile(tmp_path / "outside.bin")
    files = members()
    weights = io.BytesIO(files["model.weights.h5"])
    with h5py.File(weights, "a") as tables:
        if kind == "a link":
            tables["odd"] = h5py.ExternalLink("/etc/other.h5", "/")
        elif kind == "a soft link":
            tables["odd"] = h5py.SoftLink("/layers")
        elif kind == "a file beside it":
            tables.create_dataset("odd", (4,), np.float32, external=[(str(tmp_path / "outside.bin"), 0, 16)])
        elif kind == "mapped":
            layout = h5py.VirtualLayout((4,), np.float32)
            layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
            tables.create_virtual_dataset("odd", layout)
        elif kind == "nothing behind":
            tables.create_dataset("odd", (1 << 40,), np.float32, chunks=(1 << 10,))
        else:
            tables.attrs["model_config"] = "{}"
    files["model.weights.h5"] = weights.getvalue()
    refused(packed(tmp_path / "m.keras", files), "model.weights.h5 in it")


def test_a_truncated_keras_model_is_invalid_not_a_crash(tmp_path: Path) -> None:
    data = (HERE / "text.keras").read_bytes()
    for length in (0, 3, 40, len(data) // 2, len(data) - 30):
        path = tmp_path / "m.keras"
        path.write_bytes(data[:length])
        with pytest.raises(InvalidInput):
            inspect_model(path, root=tmp_path)


def test_weights_cut_short_are_refused_and_not_a_crash(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    whole = members()["model.weights.h5"]
    for length in (0, 7, 600, len(whole) // 2):
        refused(
            packed(tmp_path / "m.keras", members() | {"model.weights.h5": whole[:length]}), "model.weights.h5"
        )


TEXT = Signature((TensorSpec("text", "str", ("batch",)),), (TensorSpec("scores", "unknown", None),))
TWO = Signature(
    (TensorSpec("a", "float32", ("batch", 3)), TensorSpec("b", "float32", ("batch", 2))),
    (TensorSpec("big", "unknown", None), TensorSpec("sum", "unknown", None)),
)
WORDS = (TensorSpec("color", "str", ("batch", 1)), TensorSpec("number", "float32", ("batch", 2)))


@pytest.mark.parametrize(
    ("name", "signature", "parameters"),
    [
        ("text", TEXT, 418),
        ("two_inputs", TWO, 22),
        ("words", Signature(WORDS, (TensorSpec("y", "unknown", None),)), 6),
    ],
)
def test_a_model_of_keras_layers_tells_its_signature_and_its_weights(
    name: str, signature: Signature, parameters: int
) -> None:
    pytest.importorskip("h5py")
    path, before = HERE / f"{name}.keras", set(sys.modules)
    assert detect_format(path) == "keras"
    found = inspect_model(path, root=HERE)
    assert (found.format, found.doubts, found.signature) == ("keras", {}, signature)
    assert (found.parameters, found.nonfinite) == (parameters, ())
    assert found.producer.startswith("keras 3.")
    assert "tensorflow" not in set(sys.modules) - before


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    files = members()
    weights = io.BytesIO(files["model.weights.h5"])
    with h5py.File(weights, "a") as tables:
        tables["layers/dense/vars/0"][0, 0] = np.nan
    files["model.weights.h5"] = weights.getvalue()
    found = inspect_model(packed(tmp_path / "m.keras", files), root=tmp_path)
    assert found.nonfinite == ("layers/dense/vars/0",)


def saved(tmp_path: Path, change: Callable[[Any], None], name: str = "words") -> Path:
    """A SavedModel with another graph."""
    folder = tmp_path / "saved"
    shutil.copytree(HERE / name, folder)
    graph = messages()["SavedModel"].FromString((folder / "saved_model.pb").read_bytes())
    change(graph.metas[0])
    (folder / "saved_model.pb").write_bytes(graph.SerializeToString())
    return folder


@pytest.mark.parametrize(
    "operator",
    [
        "ReadFile",
        "WriteFile",
        "PyFunc",
        "EagerPyFunc",
        "PyFuncStateless",
        "InitializeTableFromTextFileV2",
        "PrintV2",
        "DecodeProtoV2",
        "Abort",
        "Theirs>Op",
    ],
)
@pytest.mark.parametrize("place", ["graph", "function"])  # fmt: skip
def test_an_operator_that_does_more_than_compute_is_refused_by_name(
    tmp_path: Path, operator: str, place: str
) -> None:
    def change(meta: Any) -> None:
        nodes = meta.graph.nodes if place == "graph" else meta.graph.library.functions[0].nodes
        nodes.add(name="odd", operator=operator)

    refused(saved(tmp_path, change), operator)


def test_saving_is_refused_where_a_signature_would_do_it(tmp_path: Path) -> None:
    def change(meta: Any) -> None:
        saving = next(
            each.about.name
            for each in meta.graph.library.functions
            if any(node.operator == "SaveV2" for node in each.nodes)
        )
        odd = meta.graph.nodes.add(name="odd", operator="PartitionedCall")
        odd.attributes.add().value.function.name = saving
        answer = meta.signatures[-1].signature.outputs[0].tensor.name.partition(":")[0]
        next(node for node in meta.graph.nodes if node.name == answer).inputs.append("^odd")

    refused(saved(tmp_path, change), "SaveV2")


def test_saving_is_refused_where_loading_would_do_it(tmp_path: Path) -> None:
    def change(meta: Any) -> None:
        for each in meta.graph.library.functions:
            if any(node.operator == "SaveV2" for node in each.nodes):
                meta.objects.functions.add(name=each.about.name)

    refused(saved(tmp_path, change), "SaveV2")


def test_a_saved_model_tells_its_signature_and_its_operators() -> None:
    assert detect_format(HERE / "words") == "savedmodel"
    found = inspect_model(HERE / "words", root=HERE)
    assert found.doubts == {}
    assert found.signature == Signature(WORDS, (TensorSpec("output_0", "float32", ("batch", 1)),))
    assert found.operators["MatMul"] >= 1
    assert found.producer.startswith("tensorflow 2.")
    assert {"saved_model.pb", "variables/variables.index"} <= set(found.files)


def test_of_several_signatures_the_one_counts_whose_outputs_the_contract_declares() -> None:
    told = Signature((), (TensorSpec("e", "unknown", None),))
    found = inspect_model(HERE / "two_signatures", root=HERE, signature=told)
    assert found.signature is not None
    assert found.signature.outputs == (TensorSpec("e", "float32", ("batch", 3)),)
    with pytest.raises(InvalidInput, match=r"`embed` \(x -> e\); `score` \(x -> y\)"):
        inspect_model(HERE / "two_signatures", root=HERE)


def test_a_broken_saved_model_is_invalid_not_a_crash(tmp_path: Path) -> None:
    folder = saved(tmp_path, lambda meta: None)
    path = folder / "saved_model.pb"
    whole = path.read_bytes()
    for data in (b"", whole[:100], whole[: len(whole) // 2], whole + whole, b"\xff" * 50):
        path.write_bytes(data)
        with pytest.raises(InvalidInput):
            inspect_model(folder, root=tmp_path)
    path.write_bytes(whole)
    (folder / "saved_model.pbtxt").write_text("")
    with pytest.raises(InvalidInput, match=r"saved_model\.pbtxt"):
        inspect_model(folder, root=tmp_path)


def test_init_says_which_format_a_folder_is_of_so_that_ci_knows_what_to_install(tmp_path: Path) -> None:
    shutil.copytree(HERE / "words", tmp_path / "exported")
    assert invoke(tmp_path, "init").exception is None
    text = (tmp_path / "gradatim.yml").read_text()
    assert yaml.safe_load(text)["model"] == {
        "name": tmp_path.name,
        "path": "exported",
        "format": "savedmodel",
    }
    assert "It takes color: str[batch, 1]; number: float32[batch, 2]" in text
    assert extras_of(read_contract(tmp_path / "gradatim.yml").parts) == ("tensorflow",)


def test_a_pickle_beside_the_graph_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, lambda meta: None)
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "words.bin").write_bytes(pickle.dumps(print))
    refused(folder, "pickle")
