"""What the search does with a model that is asked for text: weights in fewer bits, fewer layers, and how like the original it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from gradatim.compression import graph, streaming
from gradatim.compression.calibration import Calibrated
from gradatim.compression.dropping import drop_layers, save_shorter
from gradatim.compression.gguf_quantising import requantise
from gradatim.compression.packing import pack
from gradatim.compression.quantise import quantise
from gradatim.compression.recipe import GGUF, STORED, Recipe
from gradatim.compression.subject import bring_tokenizer
from gradatim.errors import InvalidInput
from gradatim.files import write_json
from gradatim.models import Predictor, detect_format
from gradatim.models.divergence import requests_in, with_references
from gradatim.models.generation import LanguageModel
from gradatim.timing.contestant import load_inputs, open_described


def stored(source: Path, out: Path, recipe: Recipe) -> None:
    """Write a model with its weights in fewer bits.

    Raises:
        InvalidInput: the method is none of these, or finds nothing to work on.
    """
    kind = detect_format(source)
    if kind == "gguf":
        if recipe.method not in GGUF:
            raise InvalidInput(f"a GGUF file can have {', '.join(GGUF)}, and not {recipe.method}")
        requantise(source, out, recipe.method)
        return
    bits = streaming.BITS.get(recipe.method)
    if bits is None:
        raise InvalidInput(
            f"a model that is asked for text can have {', '.join(STORED)}, and not {recipe.method}"
        )
    if kind == "huggingface":
        pack(source, out, bits)
        return
    if graph.is_large(source):
        streaming.stream(source, out, bits)
    else:
        prepared = graph.prepare(source)
        kept = tuple((table, "rows8") for table in sorted(graph.tables(prepared)))  # words lose too much in 4
        graph.save(quantise(replace(recipe, fallback=kept), Calibrated(prepared, (), out)), out)
    bring_tokenizer(source, out.parent)


def shortened(
    opened: Mapping[str, Any], out: Path, share: float, learned: Sequence[str], seed: int, seconds: float
) -> None:
    """Write a model with fewer layers, which has learnt on these requests; raises as ``drop_layers``."""
    with open_described(opened) as original, open_described(opened) as student:
        requests = with_references(original, requests_of(learned))
        drop_layers(original, student, share, requests, seed, seconds)
        save_shorter(cast(LanguageModel, student), Path(opened["path"]), out)


def asked(original: Predictor, heard: Path, batches: Sequence[str]) -> list[str]:
    """The requests by which forms are compared, each with its text; kept in a file, for the original may have to write them."""
    if not heard.exists():
        write_json(heard, with_references(original, requests_of(batches)))
    return list(json.loads(heard.read_text()))


def requests_of(batches: Sequence[str]) -> list[str]:
    """The requests of files of batches."""
    return [line for path in batches for line in requests_in(load_inputs(Path(path)))]
