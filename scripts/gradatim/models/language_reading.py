"""What the files of a language model say: a folder as transformers saves it, or a GGUF file.

Nothing is loaded: headers, json and the chat template, which a sandbox renders on fixed conversations.
"""

from __future__ import annotations

import json
import re
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

_GLANCE = 256
EMBEDDING = re.compile(
    r"(^|\.)(embed_tokens|embed_in|wte|word_embeddings|tok_embeddings|token_embd)\.weight$"
)
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "MTModel")
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
_GGUF_NAMES = {"pad_token": "padding_token", "unk_token": "unknown_token"}


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
        return isinstance(kinds, list) and any(str(kind).endswith(_WRITERS) for kind in kinds)

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
        return {tensor: (dtype, shape, file) for tensor, (dtype, shape, file, *_) in self._placed.items()}

    @cached_property
    def _placed(self) -> dict[str, tuple[str, tuple[int, ...], str, int, int]]:
        """The same, with the first and the end byte."""
        return {
            tensor: (dtype, tuple(shape), name, first, end)
            for name in list_files(self.folder)
            if name.endswith(".safetensors") and "/" not in name
            for tensor, (dtype, shape, first, end) in safetensors_header(self.folder / name)[0].items()
        }

    def glance(self, tensor: str) -> bytes:
        """Some bytes in the middle of a tensor, enough to tell it from others."""
        *_, name, first, end = self._placed[tensor]
        with (self.folder / name).open("rb") as file:
            file.seek((first + end) // 2)
            return file.read(min(_GLANCE, end - file.tell()))

    @property
    def embedding(self) -> str | None:
        """The tensor that holds a row for each token."""
        found = (
            name for name, (_, shape, _) in self.tensors.items() if EMBEDDING.search(name) and len(shape) == 2
        )
        return next(found, None)

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
        names = {name: self.special(name) or "" for name in SPECIAL}
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
        return (
            0
            if not bos
            else times_at_the_front(self.rendered[0] if self.rendered else "", bos) + self._adds(bos)
        )

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
        own = {
            key.removeprefix(f"{family}."): said
            for key, said in settings.items()
            if key.startswith(f"{family}.")
        }
        found = {name: settings.get(f"{family}.{theirs}") for name, theirs in names.items()}
        return {
            **own,
            **found,
            "model_type": family,
            **{f"{name}_id": self._place(name) for name in SPECIAL},
        }

    @property
    def speaks(self) -> bool:
        return isinstance(self._said("tokens"), list)

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        known = self._said("tokens")
        told = {name: self._place(name) for name in SPECIAL}
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

    def glance(self, tensor: str) -> bytes:
        place = self.header.tensors[tensor]
        with self.folder.open("rb") as file:
            file.seek(place.begin + (place.size or 0) // 2)
            return file.read(min(_GLANCE, (place.size or 0) - (place.size or 0) // 2))

    @cached_property
    def template(self) -> str | None:
        said = self.header.settings.get("tokenizer.chat_template")
        return said if isinstance(said, str) else None


def files_of(path: Path) -> ModelFiles:
    """A model's files, by what they are."""
    return _GgufFile(path) if path.is_file() and detect_format(path) == "gguf" else ModelFiles(path)


def times_at_the_front(text: str, token: str) -> int:
    """How often a text begins with a token."""
    found = 0
    while text.startswith(token):
        found, text = found + 1, text[len(token) :].lstrip()
    return found
