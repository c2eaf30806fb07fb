"""A Hugging Face folder is written as ONNX with its tokenizer beside it, and made smaller like any other model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from registry_examples import new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.replaced import model_among
from gradatim.ci.laptop import Laptop
from gradatim.compression.batches import size_and_digest
from gradatim.compression.parity import check_parity
from gradatim.compression.search import compress
from gradatim.contract.reading import read_contract
from gradatim.gates.verdict import Verdict
from gradatim.models import export_model, open_model, ready
from gradatim.steps import inspect
from gradatim.timing.contestant import Contestant

pytest.importorskip("onnxruntime")
transformers = pytest.importorskip("transformers")

from small_transformer import texts, write_bert  # noqa: E402 (needs torch)

SOME = np.array(["the match was good", "a loan and a bank with very new shares today again"], object)


def test_a_classifier_of_texts_becomes_a_smaller_onnx_that_takes_texts(tmp_path: Path) -> None:
    model = tmp_path / "bert"
    tokenizer = write_bert(model)
    found = tokenizer(texts(("sport", "money"), 16, seed=3)[0], padding=True, return_tensors="np")
    tokens = [{name: values[place : place + 8] for name, values in found.items()} for place in (0, 8)]
    searched = compress(
        model,
        tmp_path / "out",
        calibration=lambda: iter(tokens),
        methods=("int8-weights",),
        opened=Contestant("bert", model, tmp_path).opening,
    )
    trials = {trial.name: trial for trial in searched.trials}
    assert trials["onnx"].quality["parity"] < 1e-4
    assert searched.best.name.startswith("int8-weights"), searched.reason
    form = searched.best.path
    assert form is not None
    names = sorted(file.name for file in form.parent.iterdir())
    assert names == ["config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"]
    assert searched.best.size == sum(file.stat().st_size for file in form.parent.iterdir())
    given = []
    for path in (model, form):
        with ready(
            open_model(path, root=tmp_path), path, constants={}, carries={}, tokenizer={"max_length": 12}
        ) as one:
            given.append(one({"text": SOME})["logits"])
    assert np.abs(given[0] - given[1]).max() < 0.05
    again = model_among(form.parent, names, model, read_by_others=False)
    assert again == form  # as a later release finds it, which it would replace


def test_the_embedding_of_a_sentence_is_written_with_the_network_that_it_is_made_from(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "m")
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    (tmp_path / "m/modules.json").write_text(json.dumps(listed))
    (tmp_path / "m/1_Pooling").mkdir()
    modes = {"cls_token": True, "max_tokens": True, "mean_tokens": True, "mean_sqrt_len_tokens": True}
    told = {f"pooling_mode_{name}": value for name, value in modes.items()}
    (tmp_path / "m/1_Pooling/config.json").write_text(json.dumps(told))
    ids = np.array([[1, 7, 3, 0, 0], [1, 5, 9, 2, 0], [1, 5, 9, 2, 8]])
    batch = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": 0 * ids}
    shorter = {name: array[:2, :3] for name, array in batch.items()}
    with open_model(tmp_path / "m", root=tmp_path) as before:
        export_model(before, tmp_path / "m", batch, tmp_path / "m.onnx")
        with open_model(tmp_path / "m.onnx", root=tmp_path) as after:
            assert "sentence_embedding" in after(batch)
            assert check_parity(before, after, [batch, shorter]) < 1e-5


def test_onnx_with_its_tokenizer_beside_it_takes_texts_and_is_released_with_it(tmp_path: Path) -> None:
    root = new_repository(tmp_path / "m")
    write_bert(root / "bert")
    ids = np.array([[2, 9, 3], [2, 8, 3]])
    batch = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
    with open_model(root / "bert", root=root) as before:
        export_model(before, root / "bert", batch, root / "bert/model.onnx")
        (root / "bert/model.safetensors").unlink()
        text = ready(before, root / "bert", constants={}, carries={}, tokenizer={"max_length": 6})
        wanted = text({"text": SOME})
    (root / "gradatim.yml").write_text(
        "model: {name: topics, path: bert/model.onnx, tokenizer: {max_length: 6}}\n"
    )
    candidate = Candidate(read_contract(root / "gradatim.yml"), Laptop())
    assert {"model.onnx", "tokenizer.json"} <= {path.name for path in candidate.model.files}
    with candidate.model.open(candidate.model.path) as model:
        np.testing.assert_allclose(model({"text": SOME})["logits"], wanted["logits"], atol=1e-5)


def test_a_search_knows_a_folder_again_only_while_every_file_of_it_is_the_same(tmp_path: Path) -> None:
    for folder in ("a", "a/1_Pooling", "b", "b/1_Pooling"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text("{}")
    (tmp_path / "b/config.json").write_text('{"hidden_act": "relu"}')
    assert size_and_digest(tmp_path / "a")[1] != size_and_digest(tmp_path / "b")[1]
    shutil.copy(tmp_path / "a/config.json", tmp_path / "b/config.json")
    assert size_and_digest(tmp_path / "a") == size_and_digest(tmp_path / "b")


def test_a_folder_with_a_tokenizer_is_looked_over_before_anything_was_made_of_it(tmp_path: Path) -> None:
    root = new_repository(tmp_path / "repo")
    write_bert(root / "model")
    (root / "gradatim.yml").write_text(
        "model: {name: topics, path: model}\ndata: {evaluation: test.jsonl, calibration: few.jsonl}\n"
        "task: classification\ncompress: {}\n"
    )
    candidate = Candidate(read_contract(root / "gradatim.yml"), Laptop())
    assert inspect.depends_on(candidate)
    assert inspect.run(candidate).verdict is Verdict.PASS
