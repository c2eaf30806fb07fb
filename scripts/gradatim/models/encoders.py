"""The signature of well-known text encoders of Hugging Face, from their config and headers: nothing is imported or loaded.

Only where every weight that the class needs is there under its own name, so that loading could not fail or answer otherwise;
whatever else there is, is loaded for its signature. Names of weights: transformers, ``models/{bert,roberta,electra,distilbert}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.files import read_json
from gradatim.models.layouts import safetensors_header
from gradatim.models.sentence_pooling import embedding_spec
from gradatim.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

_PLACE = ("batch", "sequence")


@dataclass(frozen=True)
class _Family:
    """Encoders whose weights are called alike.

    Attributes:
        inputs: what ``forward`` takes of what a tokenizer gives.
        embeddings, layer: weights of the embeddings and of each layer, below ``layers``.
        sizes: the config's keys for the number of layers and for the width.
        pooler: weights of the pooler, none where there is none.
        sequence: the head of a sequence classification.
        pooled: whether that head stands on the pooler.
    """

    inputs: tuple[str, ...]
    embeddings: tuple[str, ...]
    layers: str
    layer: tuple[str, ...]
    sizes: tuple[str, str]
    pooler: tuple[str, ...]
    sequence: tuple[str, ...]
    pooled: bool = False


_BERT_LAYER = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm",
)  # fmt: skip
_EMBEDDINGS = ("word_embeddings.weight", "position_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")
_BERT = _Family(
    ("input_ids", "attention_mask", "token_type_ids"),
    (*_EMBEDDINGS, "token_type_embeddings.weight"),
    "encoder.layer",
    _BERT_LAYER,
    ("num_hidden_layers", "hidden_size"),
    ("pooler.dense",),
    ("classifier",),
    pooled=True,
)
_ROBERTA = _Family(
    _BERT.inputs, _BERT.embeddings, _BERT.layers, _BERT.layer, _BERT.sizes, _BERT.pooler,
    ("classifier.dense", "classifier.out_proj"),
)  # fmt: skip
_DISTILBERT = _Family(
    ("input_ids", "attention_mask"),
    _EMBEDDINGS,
    "transformer.layer",
    ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm",
     "ffn.lin1", "ffn.lin2", "output_layer_norm"),
    ("n_layers", "dim"),
    (),
    ("pre_classifier", "classifier"),
)  # fmt: skip
_FAMILIES = {"Bert": ("bert", _BERT), "Roberta": ("roberta", _ROBERTA), "XLMRoberta": ("roberta", _ROBERTA),
             "DistilBert": ("distilbert", _DISTILBERT)}  # fmt: skip
_HEADS = ("ForSequenceClassification", "ForTokenClassification", "Model")


def signature_of(source: ModelSource) -> Signature | None:
    """What the encoder takes and gives; None where only loading it tells.

    Raises:
        InvalidInput: a header is broken.
    """
    if source.format != "huggingface" or (source.signature and source.signature.inputs):
        return None
    config = read_json(source.path / "config.json")
    named = (config.get("architectures") or [""])[0] if isinstance(config, Mapping) else ""
    head = next((head for head in _HEADS if str(named).endswith(head)), None)
    known = _FAMILIES.get(str(named).removesuffix(head)) if head else None
    if head is None or known is None:
        return None
    prefix, family = known
    try:
        layers, width = (int(config[key]) for key in family.sizes)
    except (KeyError, TypeError, ValueError):
        return None
    weights = _weights(source.path)
    names = weights.keys()
    base = "" if head == "Model" else f"{prefix}."
    pooled = head == "Model" and {f"{name}.weight" for name in family.pooler} <= names and bool(family.pooler)
    needed = set(_needed(family, base, layers, head, pooled=pooled))
    if not needed <= names or any(name.startswith(f"{base}{family.layers}.{layers}.") for name in names):
        return None
    labels = len(config.get("id2label") or {}) or int(config.get("num_labels") or 2)
    last = f"{[*family.sequence][-1] if head == 'ForSequenceClassification' else 'classifier'}.weight"
    fits = weights[f"{base}embeddings.word_embeddings.weight"][1:] == (width,)
    inputs = _inputs(source.path, family, config)
    if inputs is None or not fits or (head != "Model" and weights[last] != (labels, width)):
        return None
    if head != "Model":
        axes = _PLACE[:1] if head == "ForSequenceClassification" else _PLACE
        return Signature(inputs, (TensorSpec("logits", "float32", (*axes, labels)),))
    return Signature(inputs, _outputs(source.path, width, inputs, pooled=pooled))


def _needed(family: _Family, base: str, layers: int, head: str, *, pooled: bool) -> Iterator[str]:
    yield from (f"{base}embeddings.{name}" for name in family.embeddings)
    modules = [f"{base}{family.layers}.{place}.{name}" for place in range(layers) for name in family.layer]
    if head == "ForSequenceClassification":
        modules += family.sequence
    if head == "ForTokenClassification":
        modules.append("classifier")
    if pooled or (head == "ForSequenceClassification" and family.pooled):
        modules += [f"{base}{name}" for name in family.pooler]
    yield from (f"{module}.{kind}" for module in modules for kind in ("weight", "bias"))


def _weights(folder: Path) -> dict[str, tuple[int, ...]]:
    """The sizes of all float32 weights by name; none where some are of another type, whose answers may be, too."""
    found: dict[str, tuple[int, ...]] = {}
    types = set()
    for path in sorted(folder.glob("*.safetensors")):
        for name, (dtype, shape, *_) in safetensors_header(path)[0].items():
            types.add(dtype)
            found[name] = tuple(shape)
    return found if types - {"I64"} == {"F32"} else {}


def _inputs(folder: Path, family: _Family, config: Mapping[str, Any]) -> tuple[TensorSpec, ...] | None:
    tokenizer = folder / "tokenizer_config.json"
    told = read_json(tokenizer).get("model_input_names") if tokenizer.is_file() else None
    names = [str(name) for name in told] if told else ["input_ids", "attention_mask"]
    if not told and int(config.get("type_vocab_size") or 0) > 1:
        names.append("token_type_ids")
    taken = [name for name in names if name in family.inputs]
    if "input_ids" not in taken:
        return None
    return tuple(
        TensorSpec(name, "int64", _PLACE, optional=None if name == "input_ids" else "default")
        for name in taken
    )


def _outputs(
    folder: Path, width: int, inputs: tuple[TensorSpec, ...], *, pooled: bool
) -> tuple[TensorSpec, ...]:
    found = [TensorSpec("last_hidden_state", "float32", (*_PLACE, width))]
    if pooled:
        found.append(TensorSpec("pooler_output", "float32", ("batch", width)))
    embedding = embedding_spec(folder, Signature(inputs, tuple(found)))
    return (*found, embedding) if embedding else tuple(found)
