"""A language model with fewer layers, which learns to say what the original says.

Those go after which the hidden states have changed least [1]_; what is left learns the original's chances of each token of the
calibration data, which is distillation [2]_.

.. [1] Men et al. (2024), "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect": block influence.
.. [2] Hinton, Vinyals, Dean (2015), "Distilling the Knowledge in a Neural Network".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradatim.compression.distilling import descend
from gradatim.compression.packing import copy_beside
from gradatim.errors import InvalidInput
from gradatim.models import Predictor
from gradatim.models.generation import LanguageModel

_RATE = 5e-4
_ENOUGH = 1e-4
"""Divergence, nat, below which there is nothing left to learn."""
_ROWS = 8
_LOOKED_AT = 32


def drop_layers(
    original: Predictor, student: Predictor, share: float, requests: Sequence[str], seed: int, seconds: float
) -> None:
    """Take layers out of a second copy of a model, in place, and train what is left.

    Args:
        share: of its layers, above 0 and below 1; at least one goes and at least one stays.
        requests: with a ``target`` each.
        seconds: training ends by then.

    Raises:
        InvalidInput: it is no Hugging Face folder, or has no list of layers to take some from.
    """
    if not isinstance(original, LanguageModel) or not isinstance(student, LanguageModel):
        raise InvalidInput("only a Hugging Face folder can lose layers and be trained")
    if getattr(student.module.config, "is_encoder_decoder", False):
        raise InvalidInput(
            f"{type(student.module).__name__} reads with one part and writes with the other: only a decoder's layers are dropped"
        )
    asked = [json.loads(line) for line in requests]
    rows = [original.tokens.together(original.tokens.rendered(one), one["target"])[0] for one in asked]
    network = student.module.float()
    name, layers = _layers(network)
    changed = _influence(network, layers, rows[:_LOOKED_AT])
    gone = min(max(1, round(share * len(layers))), len(layers) - 1)
    kept = sorted(sorted(range(len(layers)), key=lambda layer: -changed[layer])[: len(layers) - gone])
    _keep(network, name, layers, kept)
    _distil(original.module, network, rows, seed, seconds)


def save_shorter(student: LanguageModel, given: Path, out: Path) -> None:
    """Write what ``drop_layers`` left, in the original's dtype, with what lies beside that."""
    copy_beside(given, out)
    network = student.module.to(student.module.config.dtype)
    network.eval().save_pretrained(out)


def _layers(network: Any) -> tuple[str, Any]:
    """The name of the list of a decoder's layers, and the list."""
    import torch

    count = getattr(network.config, "num_hidden_layers", 0)
    found = [
        (name, part)
        for name, part in network.named_modules()
        if isinstance(part, torch.nn.ModuleList) and len(part) == count
    ]
    if len(found) != 1 or count < 2:
        raise InvalidInput(
            f"{type(network).__name__} has no single list of two layers or more, as its config says it has"
        )
    return found[0]


def _influence(network: Any, layers: Any, rows: Sequence[Sequence[int]]) -> list[float]:
    """By how much each layer turns the hidden states: 1 less the mean cosine of what goes in and what comes out."""
    import torch

    turned = [0.0] * len(layers)

    def watch(place: int) -> Any:
        def seen(_: Any, given: Any, found: Any) -> None:
            after = found[0] if isinstance(found, tuple) else found
            turned[place] += 1 - float(torch.cosine_similarity(given[0], after, dim=-1).mean())

        return seen

    hooks = [layer.register_forward_hook(watch(place)) for place, layer in enumerate(layers)]
    with torch.inference_mode():
        for row in rows:
            network(input_ids=torch.tensor([row]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return turned


def _keep(network: Any, name: str, layers: Any, kept: Sequence[int]) -> None:
    """Leave these layers alone, and say so in the config, whose lists of one entry a layer become as short."""
    import torch

    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, torch.nn.ModuleList([layers[each] for each in kept]))
    for place, each in enumerate(kept):
        for part in layers[each].modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = place
    config = network.config
    for key, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == len(layers) and key != "architectures":
            setattr(config, key, [value[each] for each in kept])
    config.num_hidden_layers = len(kept)


def _distil(original: Any, network: Any, rows: Sequence[Sequence[int]], seed: int, seconds: float) -> None:
    """Train on the Kullback-Leibler divergence from the original's chances, a mean over tokens."""
    import torch

    dice = torch.Generator().manual_seed(seed)
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])

    def loss() -> Any:
        some = torch.randperm(len(rows), generator=dice)[:_ROWS]
        width = int(mask[some].sum(1).max())
        given = {"input_ids": tokens[some, :width], "attention_mask": mask[some, :width], "use_cache": False}
        with torch.no_grad():
            wanted = original(**given).logits.float().log_softmax(-1)
        found = network(**given).logits.float().log_softmax(-1)
        each = (wanted.exp() * (wanted - found)).sum(-1)
        counted = mask[some, :width]
        return (each * counted).sum() / counted.sum()

    with torch.enable_grad():
        descend(network, loss, seconds=seconds, rate=_RATE, enough=_ENOUGH)
