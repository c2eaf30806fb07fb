"""The files of a language model, held against one another and against those of the release that it would replace."""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.files import list_files
from gradatim.models.language_reading import EMBEDDING, SPECIAL, ModelFiles, files_of, times_at_the_front

_INDEX = "model.safetensors.index.json"
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output|output_layer)\.")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|blk)\.(\d+)\.")
_SIZES = (
    "model_type",
    "hidden_size",
    "n_embd",
    "num_hidden_layers",
    "n_layer",
    "vocab_size",
    "intermediate_size",
    "feed_forward_length",
)
"""What of a config tells one network from another; of two alike, the rest tells how the same weights are used."""
_BY_THE_WAY = ("architectures", "auto_map", "dtype", "quantization_config", "rope_parameters", "rope_scaling", "rope_theta", "torch_dtype",
               "transformers_version", "use_cache", "block_count", "embedding_length")  # fmt: skip
"""What two of one network may have otherwise; positions and dtype are compared apart."""
_LEARNT = re.compile(r"\.weight$|(?<!attn|tion|sked)[._]bias$")
"""Weights, and no mask that older versions saved beside them (``attn.bias``)."""
_NUMBER = re.compile(r"(^|_)(size|layers?|heads?|dim|embd|embeddings|positions|eps|theta|inner)$")
"""Names of numbers in a config."""
_OLDER = ("tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt")
"""A tokenizer's files where there is no tokenizer.json."""


@dataclass(frozen=True)
class FileCheck:
    """What was looked at and what is wrong with it; nothing where that is None."""

    name: str
    fault: str | None


def check_language_files(
    folder: Path, baseline: Path | None, accepted: tuple[str, ...] = ()
) -> list[FileCheck]:
    """Every check of a language model's folder or GGUF file, in a fixed order; none for one of another kind.

    Args:
        baseline: that of the release that would be replaced; None where there is none.
        accepted: checks against the baseline that are not made, for the difference is meant.
    """
    mine = files_of(folder)
    if not mine.speaks:
        return []
    found = [FileCheck(name, fault_of(check, mine)) for name, check in _ALONE.items()]
    theirs = files_of(baseline) if baseline is not None else None
    if theirs is None or not theirs.speaks:
        theirs = mine  # nothing to differ from
    told = {
        name: check for name, check in AGAINST.items() if type(mine) is type(theirs) or name in _IN_ANY_FORMAT
    }
    return found + [
        FileCheck(name, fault_of(check, mine, theirs)) for name, check in told.items() if name not in accepted
    ]


def fault_of(check: Callable[..., str | None], *files: Any) -> str | None:
    """What a check finds wrong; also where a value is of a kind that it does not know."""
    try:
        return check(*files)
    except (AttributeError, TypeError, ValueError, LookupError, re.error) as error:
        return f"A value is of another kind than it is written with ({error}). Save the model and its tokenizer again."


def _shards(mine: ModelFiles) -> str | None:
    if not (mine.folder / _INDEX).is_file():
        return None
    placed = mine.json(_INDEX).get("weight_map") or {}
    there = {name for name in list_files(mine.folder) if name.endswith(".safetensors")}
    if lacking := sorted(set(placed.values()) - there):
        return f"The index names {lacking[0]}, which is not there. Fetch or save all shards again."
    wrong = [name for name, file in placed.items() if mine.tensors.get(name, ("", (), ""))[2] != file]
    if wrong:
        where = mine.tensors.get(wrong[0], ("", (), "no file"))[2]
        return f"The index says that {wrong[0]} is in {placed[wrong[0]]}, and it is in {where}. Save index and shards together."
    if extra := sorted(mine.tensors.keys() - placed.keys()):
        return f"{mine.tensors[extra[0]][2]} holds {extra[0]}, which the index does not name. Save index and shards together."
    return None


def _tensors(mine: ModelFiles) -> str | None:
    config, layers = mine.config, {int(m[1]) for name in mine.tensors if (m := _LAYER.search(name))}
    for key, said in config.items():
        if _NUMBER.search(key) and isinstance(said, str):
            return f"The config's {key} is {said!r}, which is no number."
    wanted = (
        None if config.get("is_encoder_decoder") else config.get("num_hidden_layers", config.get("n_layer"))
    )
    if isinstance(wanted, int) and layers and (len(layers), max(layers)) != (wanted, wanted - 1):
        return f"The config has {wanted} layers, and the weights have {len(layers)} (up to number {max(layers)})."
    for name, (_, shape, _) in mine.tensors.items():
        sizes = (config.get("vocab_size"), config.get("hidden_size", config.get("n_embd")))
        if EMBEDDING.search(name) and len(shape) == 2:
            for axis, (size, said) in enumerate(zip(shape, sizes, strict=True)):
                if isinstance(said, int) and said != size and (axis == 0 or "embedding_size" not in config):
                    what = ("vocab_size", "hidden_size")[axis]
                    return f"`{name}` is {list(shape)}, and the config's {what} is {said}. Save config and weights together."
    if config.get("tie_word_embeddings") is False and mine.embedding:
        _, like, _ = mine.tensors[mine.embedding]
        if not any(
            _HEAD.search(name) or (name != mine.embedding and shape == like and not _LAYER.search(name))
            for name, (_, shape, _) in mine.tensors.items()
        ):
            return "The config says that the head is not the embedding (`tie_word_embeddings`), and the weights have no head: transformers would make one up."
    if config.get("tie_word_embeddings") is True and mine.embedding:
        for name in filter(_HEAD.search, mine.tensors):
            alike = mine.tensors[name][:2] == mine.tensors[mine.embedding][:2]
            if alike and mine.glance(name) != mine.glance(mine.embedding):
                return f"The config says that the head is the embedding (`tie_word_embeddings`), and `{name}` is another: it would not be used."
    return None


def _dtypes(mine: ModelFiles) -> str | None:
    """The same weight of several layers is stored alike."""
    if mine.mixed:
        return None
    alike: dict[str, dict[str, str]] = defaultdict(dict)
    for name, (dtype, shape, _) in mine.tensors.items():
        if len(shape) > 1:
            alike[re.sub(r"\.\d+\.", ".N.", name)][name] = dtype
    for kind, members in alike.items():
        counts = Counter(members.values()).most_common()
        if len(counts) > 1:
            odd = next(name for name, dtype in members.items() if dtype == counts[-1][0])
            return f"`{odd}` is stored as {counts[-1][0]}, and {counts[0][1]} others of `{kind}` as {counts[0][0]}. Save all weights in one dtype."
    return None


def _vocabulary(mine: ModelFiles) -> str | None:
    model = mine.words.get("model") or {}
    known = model.get("vocab") if isinstance(model.get("vocab"), dict) else {}
    added = [one.get("id", -1) for one in mine.words.get("added_tokens") or () if isinstance(one, dict)]
    last = max([*(known or {}).values(), *added], default=-1)
    if mine.embedding is None:
        return None
    rows = mine.tensors[mine.embedding][1][0]
    if last >= rows:
        return f"The tokenizer has a token of number {last}, and the model has embeddings for {rows}. It is another model's tokenizer."
    for file, said in (("config", mine.config), ("generation config", mine.json("generation_config.json"))):
        for key in sorted(key for key in said if key.endswith("_token_id")):
            for place in said[key] if isinstance(said[key], list) else [said[key]]:
                if isinstance(place, int) and not (
                    0 <= place < rows or (place == -1 and key == "pad_token_id")
                ):
                    return f"The {file}'s {key} is {place}, and the model has {rows} tokens."
    return None


def _template_works(mine: ModelFiles) -> str | None:
    refused = next((text for text in mine.rendered[:1] if text.startswith("[refused")), None)
    return f"The chat template fails on a plain question: {refused}." if refused else None


def _one_bos(mine: ModelFiles) -> str | None:
    bos = mine.special("bos_token")
    if bos and any(times_at_the_front(text, bos) > 1 for text in mine.rendered):
        return f"A rendered conversation begins with {bos} twice. Take one out of the chat template."
    return None


def _same_tokenizer(mine: ModelFiles, theirs: ModelFiles) -> str | None:
    if (cut := mine.words.get("truncation")) and cut != theirs.words.get("truncation"):
        return f"tokenizer.json cuts texts (`truncation`: {cut}), and the release's {'cut otherwise' if theirs.words.get('truncation') else 'did not'}."
    one, other = (files.tokenizer.get("padding_side") or _fills(files) for files in (mine, theirs))
    if one != other:
        return f"The tokenizer's padding_side is {one}, and the release's was {other}: other rows of a batch are filled up elsewhere."
    for part in ("model", "normalizer", "pre_tokenizer", "added_tokens", "decoder"):
        if mine.words.get(part) != theirs.words.get(part):
            what = "tokens become another text" if part == "decoder" else "text becomes other tokens"
            return f"tokenizer.json differs from the release's in `{part}`: the same {what}."
    for name in () if mine.words or mine.folder.is_file() else _OLDER:
        told = [one.folder / name for one in (mine, theirs)]
        if told[0].is_file() and not (told[1].is_file() and told[0].read_bytes() == told[1].read_bytes()):
            return f"{name} differs from the release's: the same text becomes other tokens."
    return None


def _fills(files: ModelFiles) -> str:
    """The side that transformers fills up where a tokenizer's config does not say."""
    return "left" if str(files.tokenizer.get("tokenizer_class")).startswith(("Llama", "Gemma")) else "right"


def _same_layers(mine: ModelFiles, theirs: ModelFiles) -> str | None:
    """Layers that were exchanged, or came apart from their numbers: of each matrix a few bytes tell which of the release's it is."""
    if _another_network(mine, theirs):
        return None
    known: dict[str, dict[bytes, str]] = defaultdict(dict)
    there = {name for name, (_, shape, _) in theirs.tensors.items() if len(shape) > 1 and _LAYER.search(name)}
    for name in sorted(there):
        known[_LAYER.sub(".N.", name)].setdefault(theirs.glance(name), name)
    for name in sorted(there & mine.tensors.keys()):
        found, old = mine.glance(name), theirs.glance(name)
        other = known[_LAYER.sub(".N.", name)].get(found) if found and found != old else None
        if other is not None:
            return f"`{name}` holds what the release's `{other}` did: layers were exchanged, or numbered otherwise."
    return None


def _same_special(mine: ModelFiles, theirs: ModelFiles) -> str | None:
    for name in SPECIAL:
        if mine.special(name) != theirs.special(name):
            return f"`{name}` is {mine.special(name)}, and the release's was {theirs.special(name)}."
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if mine.config.get(name) != theirs.config.get(name):
            return f"The config's {name} is {mine.config.get(name)}, and the release's was {theirs.config.get(name)}."
    return None


def _same_template(mine: ModelFiles, theirs: ModelFiles) -> str | None:
    if (mine.template is None) != (theirs.template is None):
        return f"There is {'no' if mine.template is None else 'a'} chat template, and the release had {'none' if theirs.template is None else 'one'}."
    differ = [pair for pair in zip(theirs.rendered, mine.rendered, strict=True) if pair[0] != pair[1]]
    if not differ:
        return None
    old, new = ([repr(line) for line in text.splitlines(keepends=True)] for text in differ[0])
    lines = [
        line
        for line in difflib.unified_diff(old, new, n=0, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]
    shown = " ".join(lines[:6])
    return f"Of {len(mine.rendered)} fixed conversations {len(differ)} are rendered otherwise than by the release: {shown}"


def _same_bos(mine: ModelFiles, theirs: ModelFiles) -> str | None:
    if mine.begins == theirs.begins:
        return None
    return f"A conversation begins with the first token {mine.begins} times, and with the release's files {theirs.begins}."


def _positions(config: Mapping[str, Any]) -> dict[str, Any]:
    """How a config tells of rotary positions, in either of transformers' ways."""
    thetas = {one.get("rope_theta") for one in (config, config.get("rope_parameters") or {})}
    said = {
        **(config.get("rope_scaling") or {}),
        **(config.get("rope_parameters") or {}),
    }
    kind = said.pop("rope_type", said.pop("type", None))
    said |= {"kind": kind, "rope_theta": sorted(one for one in thetas if one is not None) or None}
    return {key: value for key, value in said.items() if value not in (None, "default")}


def _another_network(mine: ModelFiles, theirs: ModelFiles) -> bool:
    return any(mine.config.get(key) != theirs.config.get(key) for key in _SIZES)


def _same_config(mine: ModelFiles, theirs: ModelFiles) -> str | None:
    one, other = mine.config, theirs.config
    if _another_network(mine, theirs):
        return None
    for key in sorted({*one} & {*other}):
        if (
            key not in _BY_THE_WAY
            and not key.endswith("_token_id")
            and not key.startswith("_")
            and one[key] != other[key]
        ):
            return f"The config's {key} is {one[key]}, and the release's was {other[key]}, of a network of the same size."
    packed = "quantization_config" in {**one, **other}
    for name in sorted(theirs.tensors.keys() - mine.tensors.keys()):
        if _LEARNT.search(name) and not _HEAD.search(name) and not packed:
            return f"The release's weights have `{name}`, and these have not: transformers would make it up."
    if _positions(one) != _positions(other):
        return (
            f"The config tells of positions (rope) {_positions(one)}, and the release's {_positions(other)}."
        )
    return None


def _same_dtype(mine: ModelFiles, theirs: ModelFiles) -> str | None:
    """By the embedding, which no compression of ours stores otherwise."""
    if mine.mixed or not mine.embedding or not theirs.embedding:
        return None
    one, other = mine.tensors[mine.embedding][0], theirs.tensors[theirs.embedding][0]
    return None if one == other else f"`{mine.embedding}` is stored as {one}, and the release's as {other}."


def _same_settings(mine: ModelFiles, theirs: ModelFiles) -> str | None:
    one, other = mine.json("generation_config.json"), theirs.json("generation_config.json")
    for key in sorted({*one, *other} - {"transformers_version", "_from_model_config"}):
        if one.get(key) != other.get(key):
            return f"generation_config.json has {key} {one.get(key)}, and the release's had {other.get(key)}."
    return None


_ALONE: Mapping[str, Callable[[ModelFiles], str | None]] = {
    "shards": _shards,
    "tensors_match_config": _tensors,
    "one_dtype": _dtypes,
    "tokenizer_fits": _vocabulary,
    "chat_template_works": _template_works,
    "one_bos": _one_bos,
}
AGAINST: Mapping[str, Callable[[ModelFiles, ModelFiles], str | None]] = {
    "same_tokenizer": _same_tokenizer,
    "same_special_tokens": _same_special,
    "same_chat_template": _same_template,
    "same_bos": _same_bos,
    "same_config": _same_config,
    "same_layers": _same_layers,
    "same_dtype": _same_dtype,
    "same_generation_settings": _same_settings,
}
"""Checks against the release, by name."""

_IN_ANY_FORMAT = ("same_chat_template", "same_bos")
"""Those that also mean something where the release was of another format."""
