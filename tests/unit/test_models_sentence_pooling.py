"""A sentence-transformers folder gives the embedding that its makers meant."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gradatim.models import open_model

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IDS = np.array([[1, 7, 3, 0], [1, 5, 9, 2]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).astype(np.int64)}
MODULES = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = transformers.BertConfig(
        vocab_size=12,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        type_vocab_size=1,
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def describe(folder: Path, modules: list[tuple[str, str]], **modes: bool) -> None:
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    told = {f"pooling_mode_{name}": value for name, value in modes.items()}
    (folder / "1_Pooling/config.json").write_text(
        json.dumps({"word_embedding_dimension": 8, **told}), encoding="utf-8"
    )


def test_the_mean_over_the_tokens_that_count_is_normalised(folder: Path) -> None:
    describe(folder, MODULES, mean_tokens=True, cls_token=False)
    with open_model(folder, root=folder.parent) as predictor:
        spec = predictor.signature.output("sentence_embedding")
        outputs = predictor(BATCH)
    assert spec is not None
    assert spec.shape == ("batch", 8)
    tokens = outputs["last_hidden_state"]
    expected = np.stack([tokens[0, :3].mean(axis=0), tokens[1].mean(axis=0)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(outputs["sentence_embedding"], expected, rtol=1e-5, atol=1e-6)


def test_several_ways_of_pooling_stand_side_by_side(folder: Path) -> None:
    describe(folder, MODULES[:2], cls_token=True, max_tokens=True)
    with open_model(folder, root=folder.parent) as predictor:
        outputs = predictor(BATCH)
    tokens = outputs["last_hidden_state"]
    expected = [
        np.concatenate([tokens[0, 0], tokens[0, :3].max(axis=0)]),
        np.concatenate([tokens[1, 0], tokens[1].max(axis=0)]),
    ]
    np.testing.assert_allclose(outputs["sentence_embedding"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("modules", "modes"),
    [
        ([*MODULES[:2], ("2_Dense", "Dense")], {"mean_tokens": True}),
        (MODULES, {"weightedmean_tokens": True}),
        (MODULES, {}),
    ],
)
def test_what_is_not_known_is_not_guessed(
    folder: Path, modules: list[tuple[str, str]], modes: dict[str, bool]
) -> None:
    describe(folder, modules, **modes)
    with open_model(folder, root=folder.parent) as predictor:
        assert "sentence_embedding" not in predictor(BATCH)
