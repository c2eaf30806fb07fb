"""The files of a language model, held against one another and against those of the release that it would replace.

Nothing is loaded: headers, json and the chat template, which a sandbox renders on fixed conversations.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gradatim.files import list_files, read_json
from gradatim.models.formats import detect_format
from gradatim.models.gguf_file import GgufHeader, gguf_header
from gradatim.models.layouts import safetensors_header

CONVERSATIONS = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 6 times 7?"}],
    [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": " Three\n"},
    ],
)
"""What every chat template is rendered on, each with the opening of an answer."""

_INDEX = "model.safetensors.index.json"
EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|token_embd)\.weight$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|blk)\.(\d+)\.")
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
_GGUF_NAMES = {"pad_token": "padding_token", "unk_token": "unknown_token"}


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
    mine = _files_of(folder)
    if not mine.speaks:
        return []
    found = [FileCheck(name, fault_of(check, mine)) for name, check in _ALONE.items()]
    theirs = _files_of(baseline) if baseline is not None else None
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


class ModelFiles:
    """A folder as ``save_pretrained`` writes it, read when asked for."""

    mixed = False
    """Whether its format stores the same weight of several layers in several ways, on purpose."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        found = read_json(path) if path.is_file() else None
        return found if isinstance(found, dict) else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        return self.json("config.json")

    @property
    def speaks(self) -> bool:
        """Whether its config names a class that generates text."""
        kinds = self.config.get("architectures")
        return isinstance(kinds, list) and any(
            str(kind).endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds
        )

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        return self.json("tokenizer_config.json")

    @cached_property
    def words(self) -> dict[str, Any]:
        """tokenizer.json; empty for a tokenizer of another kind."""
        return self.json("tokenizer.json")

    @cached_property
    def tensors(self) -> dict[str, tuple[str, tuple[int, ...], str]]:
        """Name -> dtype, shape and file, of every safetensors file."""
        found = {}
        for name in list_files(self.folder):
            if name.endswith(".safetensors") and "/" not in name:
                for tensor, (dtype, shape, *_) in safetensors_header(self.folder / name)[0].items():
                    found[tensor] = (dtype, tuple(shape), name)
        return found

    def special(self, name: str) -> str | None:
        said = self.tokenizer.get(name)
        said = said.get("content") if isinstance(said, dict) else said
        return None if said is None else str(said)

    @cached_property
    def template(self) -> str | None:
        path = self.folder / "chat_template.jinja"
        if path.is_file():
            return path.read_text(encoding="utf-8")
        said = self.tokenizer.get("chat_template")
        if isinstance(said, list):  # several, by name
            said = next((one.get("template") for one in said if one.get("name") == "default"), None)
        return said if isinstance(said, str) else None

    @cached_property
    def rendered(self) -> list[str]:
        """The fixed conversations; a conversation that the template refuses is its refusal."""
        return [] if self.template is None else [self._rendered(turns) for turns in CONVERSATIONS]

    def _rendered(self, turns: list[dict[str, str]]) -> str:
        from jinja2 import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> None:
            raise TemplateError(message)

        room = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        room.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
        room.globals |= {"raise_exception": refuse, "strftime_now": lambda form: form}
        names = {name: self.special(name) or "" for name in _SPECIAL}
        try:
            return room.from_string(self.template or "").render(
                messages=turns, add_generation_prompt=True, **names
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            return f"[refused: {error}]"

    @property
    def begins(self) -> int:
        """How often the text of a conversation begins with the first token, as the template and then the tokenizer put it."""
        bos = self.special("bos_token")
        return 0 if not bos else _times(self.rendered[0] if self.rendered else "", bos) + self._adds(bos)

    def _adds(self, bos: str) -> int:
        said = json.dumps(self.words.get("post_processor") or {})
        return int(json.dumps(bos) in said or bool(self.tokenizer.get("add_bos_token")))


class _GgufFile(ModelFiles):
    """A GGUF file, whose header says what the files of a folder say."""

    mixed = True

    @cached_property
    def header(self) -> GgufHeader:
        return gguf_header(self.folder)

    def _said(self, name: str) -> Any:
        return self.header.settings.get(f"tokenizer.ggml.{name}")

    def _place(self, name: str) -> Any:
        return self._said(f"{_GGUF_NAMES.get(name, name)}_id")

    @cached_property
    def config(self) -> dict[str, Any]:
        settings = self.header.settings
        family = settings.get("general.architecture")
        names = {
            "vocab_size": "vocab_size",
            "num_hidden_layers": "block_count",
            "hidden_size": "embedding_length",
        }
        found = {name: settings.get(f"{family}.{theirs}") for name, theirs in names.items()}
        return found | {f"{name}_id": self._place(name) for name in _SPECIAL}

    @property
    def speaks(self) -> bool:
        return isinstance(self._said("tokens"), list)

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        known = self._said("tokens")
        told = {name: self._place(name) for name in _SPECIAL}
        special = {
            name: known[place]
            for name, place in told.items()
            if isinstance(place, int) and 0 <= place < len(known)
        }
        return {**special, "add_bos_token": self._said("add_bos_token")}

    @cached_property
    def words(self) -> dict[str, Any]:
        tokens = {token: place for place, token in enumerate(self._said("tokens"))}
        model = {"kind": self._said("model"), "vocab": tokens, "merges": self._said("merges")}
        return {"model": model, "pre_tokenizer": self._said("pre"), "added_tokens": self._said("token_type")}

    @cached_property
    def tensors(self) -> dict[str, tuple[str, tuple[int, ...], str]]:
        found = self.header.tensors.items()
        return {name: (tensor.stored, tensor.shape, self.folder.name) for name, tensor in found}

    @cached_property
    def template(self) -> str | None:
        said = self.header.settings.get("tokenizer.chat_template")
        return said if isinstance(said, str) else None


def _files_of(path: Path) -> ModelFiles:
    return _GgufFile(path) if path.is_file() and detect_format(path) == "gguf" else ModelFiles(path)


def _times(text: str, token: str) -> int:
    found = 0
    while text.startswith(token):
        found, text = found + 1, text[len(token) :].lstrip()
    return found


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
    wanted = config.get("num_hidden_layers", config.get("n_layer"))
    if isinstance(wanted, int) and layers and (len(layers), max(layers)) != (wanted, wanted - 1):
        return f"The config has {wanted} layers, and the weights have {len(layers)} (up to number {max(layers)})."
    for name, (_, shape, _) in mine.tensors.items():
        sizes = (config.get("vocab_size"), config.get("hidden_size", config.get("n_embd")))
        if EMBEDDING.search(name) and len(shape) == 2:
            for axis, (size, said) in enumerate(zip(shape, sizes, strict=True)):
                if isinstance(said, int) and said != size and (axis == 0 or "embedding_size" not in config):
                    what = ("vocab_size", "hidden_size")[axis]
                    return f"`{name}` is {list(shape)}, and the config's {what} is {said}. Save config and weights together."
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
    rows = [
        shape[0] for name, (_, shape, _) in mine.tensors.items() if EMBEDDING.search(name) and len(shape) == 2
    ]
    if rows and last >= rows[0]:
        return f"The tokenizer has a token of number {last}, and the model has embeddings for {rows[0]}. It is another model's tokenizer."
    for name in ("bos_token_id", "eos_token_id"):
        said = mine.config.get(name)
        if isinstance(said, int) and rows and not 0 <= said < rows[0]:
            return f"The config's {name} is {said}, and the model has {rows[0]} tokens."
    return None


def _template_works(mine: ModelFiles) -> str | None:
    refused = next((text for text in mine.rendered[:1] if text.startswith("[refused")), None)
    return f"The chat template fails on a plain question: {refused}." if refused else None


def _one_bos(mine: ModelFiles) -> str | None:
    bos = mine.special("bos_token")
    if bos and any(_times(text, bos) > 1 for text in mine.rendered):
        return f"A rendered conversation begins with {bos} twice. Take one out of the chat template."
    return None


def _same_tokenizer(mine: ModelFiles, theirs: ModelFiles) -> str | None:
    for part in ("model", "normalizer", "pre_tokenizer", "added_tokens"):
        if mine.words.get(part) != theirs.words.get(part):
            return (
                f"tokenizer.json differs from the release's in `{part}`: the same text becomes other tokens."
            )
    return None


def _same_special(mine: ModelFiles, theirs: ModelFiles) -> str | None:
    for name in _SPECIAL:
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
    "same_generation_settings": _same_settings,
}
"""Checks against the release, by name."""

_IN_ANY_FORMAT = ("same_chat_template", "same_bos")
"""Those that also mean something where the release was of another format."""
