"""The sentence embedding that a sentence-transformers folder describes beside its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.files import read_json
from gradatim.models.predictor import Arrays, RuntimeModel
from gradatim.signature import Signature, TensorSpec

OUTPUT = "sentence_embedding"
"""What sentence-transformers itself calls the output when it exports a model."""

_TOKENS = "last_hidden_state"
_MASK = "attention_mask"

Pool = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
"""Tokens [b, s, d] and their weights 0 or 1 [b, s, 1] to [b, d]."""


def with_sentence_embedding(model: RuntimeModel, folder: Path) -> RuntimeModel:
    """The model with a further output ``sentence_embedding`` float32 [batch, width], as ``modules.json`` asks for.

    A folder without ``modules.json``, or one that asks for more than pooling and normalising (a dense layer of its
    own), leaves the model as it is: an embedding that its makers did not mean would be worse than none.
    """
    spec = embedding_spec(folder, model.signature)
    if spec is None:
        return model
    pools, normalised = _described(folder)

    def run(inputs: Arrays) -> dict[str, NDArray[Any]]:
        outputs = model(inputs)
        mask = inputs[_MASK] if _MASK in inputs else np.ones(outputs[_TOKENS].shape[:2], np.int64)
        weights = mask.astype(np.float32)[..., None]
        found = np.concatenate([pool(outputs[_TOKENS], weights) for pool in pools], axis=1)
        if normalised:
            found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return {**outputs, OUTPUT: np.asarray(found, np.float32)}

    return RuntimeModel(
        model.name,
        Signature(model.signature.inputs, (*model.signature.outputs, spec)),
        run,
        device=model.device,
        threads=model.threads,
        release=model.close,
    )


def embedding_spec(folder: Path, signature: Signature) -> TensorSpec | None:
    """The further output ``sentence_embedding`` of a model of this signature; None where its folder asks for none."""
    pools, _ = _described(folder)
    tokens = signature.output(_TOKENS)
    if not pools or tokens is None or signature.input(_MASK) is None:
        return None
    width = tokens.shape[-1] if tokens.shape else None
    return TensorSpec(OUTPUT, "float32", ("batch", width * len(pools) if isinstance(width, int) else None))


def _described(folder: Path) -> tuple[list[Pool], bool]:
    """How to pool, in the order of concatenation, and whether to normalise; no pool where that is not known."""
    listed = folder / "modules.json"
    modules = read_json(listed) if listed.is_file() else None
    if not isinstance(modules, list) or not all(isinstance(module, Mapping) for module in modules):
        return [], False
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        return [], False
    settings = folder / str(modules[1].get("path")) / "config.json"
    told = read_json(settings) if settings.is_file() else None
    if not isinstance(told, Mapping):
        return [], False
    wanted = {key for key, value in told.items() if key.startswith("pooling_mode_") and value is True}
    if not wanted <= set(_POOLS):
        return [], False
    return [pool for key, pool in _POOLS.items() if key in wanted], len(kinds) == 3


def _first(tokens: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = tokens[np.arange(len(tokens)), weights[..., 0].argmax(axis=1)]
    return found


def _largest(tokens: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = np.where(weights > 0, tokens, -np.inf).max(axis=1)
    return found


def _sum(tokens: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = (tokens * weights).sum(axis=1)
    return found


_POOLS: dict[str, Pool] = {
    "pooling_mode_cls_token": _first,
    "pooling_mode_max_tokens": _largest,
    "pooling_mode_mean_tokens": lambda t, w: _sum(t, w) / np.maximum(w.sum(axis=1), 1e-9),
    "pooling_mode_mean_sqrt_len_tokens": lambda t, w: _sum(t, w) / np.sqrt(np.maximum(w.sum(axis=1), 1e-9)),
}
"""In the order in which sentence-transformers concatenates them."""
