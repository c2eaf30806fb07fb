"""A LoRA adapter beside the model that it was trained on, as PEFT saves it: held against it by headers, and put on it.

W + s B A, with A [r, in], B [out, r] and s = alpha / r, or alpha / sqrt(r) where the config says ``use_rslora`` [1]_ [2]_.

.. [1] Hu et al. (2022), "LoRA: Low-Rank Adaptation of Large Language Models".
.. [2] Kalajdzievski (2023), "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import GradatimError, InvalidInput, needs
from gradatim.files import list_files
from gradatim.models.formats import refuse_placeholder
from gradatim.models.language_files import FileCheck, fault_of
from gradatim.models.language_reading import EMBEDDING, ModelFiles
from gradatim.models.layouts import Tensors, safetensors_header
from gradatim.models.predictor import failed
from gradatim.models.weights import is_zero, pieces_of

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ENDS = {".lora_A.weight": 0, ".lora_B.weight": 1, ".lora_embedding_A": 0, ".lora_embedding_B": 1}
"""How PEFT ends the names of A and B."""
_BESIDE = (".lora_magnitude_vector", ".lora_B.bias", ".token_adapter.trainable_tokens_delta")
"""What else it saves for a module that is changed."""


def adapter_files(folder: Path) -> list[Path]:
    """Every file of an adapter's folder, sorted.

    Raises:
        InvalidInput: it is no adapter, or its weights are a pickle or are not there.
    """
    names = list_files(folder) if folder.is_dir() else []
    if CONFIG not in names:
        raise InvalidInput(
            f"There is no LoRA adapter at {folder}: that is a folder with {CONFIG} and {WEIGHTS}, as PEFT's `save_pretrained` "
            "writes it. Correct `model.adapter`."
        )
    if WEIGHTS not in names:
        kept = next((name for name in names if name.endswith((".bin", ".pt", ".pth"))), None)
        why = f"are a pickle ({kept}), which can run any code when it is loaded" if kept else "are not there"
        raise InvalidInput(
            f"{folder}: the adapter's weights {why}. Save them as {WEIGHTS}: `save_pretrained` does so by itself, unless told "
            "`safe_serialization=False`."
        )
    refuse_placeholder(folder / WEIGHTS)
    return [folder / name for name in names]


def put_on(module: Any, source: ModelSource, adapter: Path) -> Any:
    """The network with the adapter merged into its weights, in their dtype; PEFT does so.

    Raises:
        InvalidInput: it does not belong to this network, or has weights that PEFT would leave out without a word.
        EnvironmentLacks: PEFT is not installed.
    """
    with needs("peft", "peft", f"Putting an adapter on {source.name}"):
        import peft
    try:
        config = peft.PeftConfig.from_pretrained(str(adapter))
        config.inference_mode = True
        adapted = peft.PeftModel(module, config)
        loaded = adapted.load_adapter(str(adapter), "default")
        lacking = [name for name in loaded.missing_keys if "lora_" in name]
        if wrong := [*loaded.unexpected_keys, *lacking]:
            raise InvalidInput(
                f"The adapter {adapter} and its config do not belong together: {len(wrong)} weights are named by one of them alone, "
                f"{wrong[0]} among them. Save both together."
            )
        return adapted.merge_and_unload(safe_merge=True)
    except GradatimError:
        raise
    except Exception as error:
        raise failed(f"The adapter {adapter}", f"cannot be put on {source.path}", error) from error


def check_adapter(base: Path, adapter: Path, accepted: tuple[str, ...] = ()) -> list[FileCheck]:
    """Every check of an adapter against the model that it is put on; headers are read, and the adapter's own weights.

    Args:
        accepted: checks that are not made, for what they would find is meant.

    Raises:
        InvalidInput: as ``adapter_files``; or a header is broken.
    """
    adapter_files(adapter)
    both = _Both(ModelFiles(base), ModelFiles(adapter), safetensors_header(adapter / WEIGHTS)[0])
    return [FileCheck(name, fault_of(check, both)) for name, check in CHECKS.items() if name not in accepted]


@dataclass(frozen=True)
class _Both:
    """The files of a model and of its adapter, and the adapter's weights."""

    base: ModelFiles
    adapter: ModelFiles
    tensors: Tensors

    @cached_property
    def config(self) -> dict[str, Any]:
        return self.adapter.json(CONFIG)

    @cached_property
    def pairs(self) -> dict[str, list[str | None]]:
        """Module -> the names of its A and its B."""
        found: dict[str, list[str | None]] = defaultdict(lambda: [None, None])
        for name in self.tensors:
            for end, place in _ENDS.items():
                if name.endswith(end):
                    found[_plain(name.removesuffix(end))][place] = name
        return dict(found)

    @cached_property
    def whole(self) -> dict[str, str]:
        """Weight of the model -> what is put in its place: ``modules_to_save``, biases, embeddings."""
        others = [name for name in self.tensors if not name.endswith((*_ENDS, *_BESIDE))]
        return {_plain(name).replace(".base_layer.", "."): name for name in others}

    def under(self, weight: str) -> str | None:
        """A weight's name in the model's files, which may name more or less of what is around the layers."""
        alike = self._tails.get(_tail(weight), [])
        if not alike and weight.endswith("lm_head.weight"):  # tied
            alike = [name for name in self.base.tensors if EMBEDDING.search(name)]
        return max(alike, key=lambda name: (weight.endswith(name), name.endswith(weight)), default=None)

    @cached_property
    def _tails(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in self.base.tensors:
            found[_tail(name)].append(name)
        return dict(found)

    @cached_property
    def modules(self) -> dict[str, str]:
        """What an adapter could change: module -> its weight, of the model's files."""
        tensors = self.base.tensors.items()
        return {
            name.removesuffix(".weight"): name
            for name, (_, shape, _) in tensors
            if len(shape) > 1 and name.endswith(".weight")
        }

    def bytes_of(self, name: str) -> Iterator[bytes]:
        _, _, first, end = self.tensors[name]
        return pieces_of(self.adapter.folder / WEIGHTS, first, end - first)


def _plain(name: str) -> str:
    return name.removeprefix("base_model.model.")


def _tail(name: str) -> str:
    """A weight's name from its layer on; the last two words of one outside of the layers."""
    parts = name.split(".")
    layer = next((place for place, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    return ".".join(parts[max(0, layer - 1) :])


def _fits(both: _Both) -> str | None:
    if both.config.get("peft_type") != "LORA":
        return f"It is an adapter of the kind {both.config.get('peft_type')}, and only LORA is known. Merge it yourself, and release the whole model."
    if not both.pairs and not both.whole:
        return "It holds no weights. Save it again."
    wrong = (_misfit(both, module, *names) for module, names in both.pairs.items())
    if fault := next(filter(None, wrong), None):
        return fault
    for weight, name in both.whole.items():
        own, shape = both.under(weight), both.tensors[name][1]
        if own is None or both.base.tensors[own][1] != shape:
            is_ = f"is {list(both.base.tensors[own][1])} in the base" if own else "is not in the base"
            return f"It brings a whole `{weight}` of {list(shape)}, which {is_}: it was trained on another model."
    return None


def _misfit(both: _Both, module: str, first: str | None, second: str | None) -> str | None:
    if first is None or second is None:
        return (
            f"`{module}` has {'a B and no A' if first is None else 'an A and no B'}. Save the adapter again."
        )
    (rank, inward, *_), (outward, again, *_) = both.tensors[first][1], both.tensors[second][1]
    ranks = both.config.get("rank_pattern") or {}
    said = next(
        (r for key, r in ranks.items() if re.fullmatch(rf"(.*\.)?({key})", module)), both.config.get("r")
    )
    if not rank == again == said:
        return f"`{module}` has an A of rank {rank} and a B of rank {again}, and the config says {said}. Save weights and config together."
    own = both.under(f"{module}.weight")
    if own is None:
        return f"It changes `{module}`, and the base has no such weight: it was trained on another model."
    shape = both.base.tensors[own][1]
    if sorted((outward, inward)) != sorted(shape[:2]):  # some layers store their weight the other way round
        return f"It changes a `{module}` of {[outward, inward]}, which is {list(shape)} in the base: it was trained on another model."
    return None


def _targets(both: _Both) -> str | None:
    """PEFT leaves out, without a word, what the config does not name, and makes up what is not there."""
    said = both.config.get("target_modules")
    if not said or said == "all-linear":
        return None
    if isinstance(said, str):
        ignored = [module for module in both.pairs if not re.fullmatch(said, module)]
        return None if not ignored else f"It changes `{ignored[0]}`, which `target_modules` does not match."
    wanted = set[str]()
    for name in said:
        named = {weight for module, weight in both.modules.items() if _is_called(module, name)}
        named |= {own for own in (both.under(f"{name}.weight"),) if own and "." in name}
        if not named:
            return f"`target_modules` names `{name}`, and nothing in the base is called so: it was trained on another model."
        wanted |= named
    if ignored := [module for module in both.pairs if not any(_is_called(module, name) for name in said)]:
        return f"It holds weights for `{ignored[0]}`, which `target_modules` does not name: PEFT leaves them out without a word."
    some = any(both.config.get(key) for key in ("layers_to_transform", "exclude_modules"))
    lacking = sorted(wanted - {both.under(f"{module}.weight") for module in both.pairs})
    if lacking and not some and ".experts." not in lacking[0]:
        return f"`target_modules` names `{lacking[0].removesuffix('.weight')}`, and the adapter has no weights for it: the base's answer is left there."
    return None


def _is_called(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def _base(both: _Both) -> str | None:
    told = both.config.get("base_model_name_or_path")
    if not told:
        return None
    folder, config = both.base.folder.resolve().name, both.base.config.get("_name_or_path")
    if _called(told) in {_called(folder), _called(config or "")}:
        return None
    itself = f", and its config says {config}" if config else ""
    return f"It was trained on {told}, and nothing says that the base is that: its folder is called {folder}{itself}. Give it its own base, in a folder of that name."


def _called(place: str) -> str:
    """``Llama-3`` of a path, of ``meta/Llama-3``, and of a folder in the Hub's cache."""
    cached = re.search(r"models--[^/]*?--([^/]+)", place)
    return (cached[1] if cached else place.rstrip("/\\").replace("\\", "/").rpartition("/")[2]).casefold()


def _changes(both: _Both) -> str | None:
    if both.config.get("lora_alpha") == 0 and not both.config.get("alpha_pattern"):
        pairs: list[list[str | None]] = []
    else:
        pairs = list(both.pairs.values())
    tokens: list[list[str | None]] = [[name] for name in both.tensors if name.endswith(_BESIDE[-1])]
    if not all(any(_is_nothing(both, name) for name in names) for names in (*pairs, *tokens)):
        return None
    if any(_is_another(both, weight, name) for weight, name in both.whole.items()):
        return None
    why = "in every pair of A and B one is zero" if pairs else "its `lora_alpha` is 0"
    return f"The model answers with it exactly as without: {why}. It was never trained, or not saved."


def _is_nothing(both: _Both, name: str | None) -> bool:
    return name is None or is_zero(both.tensors[name][0], both.bytes_of(name))


def _is_another(both: _Both, weight: str, name: str) -> bool:
    """Whether a whole weight is not the model's own."""
    own = both.under(weight)
    if own is None:
        return True
    dtype, shape, file = both.base.tensors[own]
    if (dtype, shape) != both.tensors[name][:2]:
        return True
    path = both.base.folder / file
    _, _, first, end = safetensors_header(path)[0][own]
    pieces = zip(both.bytes_of(name), pieces_of(path, first, end - first), strict=True)
    return any(mine != theirs for mine, theirs in pieces)


def _tokenizer(both: _Both) -> str | None:
    mine, base = both.adapter, both.base
    if mine.template not in (None, base.template) and mine.rendered != base.rendered:
        what = "a chat template that renders otherwise than the base's"
    elif mine.words and any(
        mine.words.get(part) != base.words.get(part) for part in ("model", "added_tokens")
    ):
        what = "another tokenizer than the base's"
    else:
        return None
    return f"Its folder brings {what}, which is the one that is used. Copy the adapter's into the base's folder, or take it out of the adapter's."


CHECKS: Mapping[str, Callable[[_Both], str | None]] = {
    "adapter_fits": _fits,
    "adapter_targets": _targets,
    "adapter_base": _base,
    "adapter_tokenizer": _tokenizer,
    "adapter_changes": _changes,
}
"""Checks of an adapter, by name."""
