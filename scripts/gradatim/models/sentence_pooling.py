"""The sentence embedding that a sentence-transformers folder describes beside its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gradatim.files import read_json
from gradatim.signature import Signature, TensorSpec

OUTPUT = "sentence_embedding"
"""What sentence-transformers itself calls the output when it exports a model."""

_TOKENS = "last_hidden_state"
_MASK = "attention_mask"

Pool = Callable[[Any, Any], Any]
"""Tokens [b, s, d] and their weights 0 or 1 [b, s, 1] to [b, d], tensors of PyTorch's."""


def pooling_of(folder: Path) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Any]:
    """What makes the embedding [b, d] of a model's inputs and outputs, tensors of PyTorch's by name.

    A folder of which ``embedding_spec`` knows nothing asks for none.
    """
    import torch

    pools, normalised = _described(folder)

    def pooled(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        tokens = outputs[_TOKENS].float()
        mask = inputs.get(_MASK)
        weights = tokens.new_ones(tokens.shape[:2]) if mask is None else mask.float()
        found = torch.cat([pool(tokens, weights[..., None]) for pool in pools], dim=1)
        return torch.nn.functional.normalize(found, dim=1) if normalised else found

    return pooled


def embedding_spec(folder: Path, signature: Signature) -> TensorSpec | None:
    """The further output ``sentence_embedding`` of a model of this signature; None where its folder asks for none.

    A folder without ``modules.json``, or one that asks for more than pooling and normalising (a dense layer of its
    own), asks for none: an embedding that its makers did not mean would be worse than none.
    """
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


def _first(tokens: Any, weights: Any) -> Any:
    return _sum(tokens, weights * (weights.cumsum(dim=1) == 1))  # no index, which an export would fix


def _largest(tokens: Any, weights: Any) -> Any:
    return tokens.masked_fill(weights == 0, float("-inf")).amax(dim=1)


def _sum(tokens: Any, weights: Any) -> Any:
    return (tokens * weights).sum(dim=1)


_POOLS: dict[str, Pool] = {
    "pooling_mode_cls_token": _first,
    "pooling_mode_max_tokens": _largest,
    "pooling_mode_mean_tokens": lambda t, w: _sum(t, w) / w.sum(dim=1).clamp(min=1e-9),
    "pooling_mode_mean_sqrt_len_tokens": lambda t, w: _sum(t, w) / w.sum(dim=1).clamp(min=1e-9).sqrt(),
}
"""In the order in which sentence-transformers concatenates them."""
