"""A folder as ``save_pretrained`` writes it: config.json and safetensors, run by transformers, offline."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradatim.errors import GradatimError, InvalidInput, needs
from gradatim.files import read_json
from gradatim.models.adapter import put_on
from gradatim.models.filling import FILLED
from gradatim.models.predictor import failed
from gradatim.models.sentence_pooling import OUTPUT, embedding_spec, pooling_of
from gradatim.models.torch_program import TorchModel, import_torch, module_predictor, quiet, torch_model
from gradatim.models.variables import offline, silent
from gradatim.signature import Signature, Size, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

_TEXT = ("input_ids", "attention_mask", "token_type_ids", "decoder_input_ids")


def open_hugging_face(source: ModelSource) -> TorchModel:
    """Load a Hugging Face folder without the network and without code that it may bring.

    ``trust_remote_code`` is never given. The class is the first of the config's ``architectures`` that
    transformers has, else ``AutoModel``'s choice. Weights that the folder lacks are an error: transformers
    would make them up at random.

    Raises:
        InvalidInput: the folder is broken or lacks weights.
        EnvironmentLacks: transformers, torch or the GPU is missing.
    """
    torch = import_torch(source)
    with needs("transformers", "transformers", f"Running {source.name}"), offline():
        import transformers
    try:
        with offline(), quiet(), silent():
            module = load_module(transformers, source)
            signature = _signature(torch, source, module)
    except GradatimError:
        raise
    except Exception as error:
        raise failed(str(source.path), "cannot be loaded by transformers", error) from error
    options: dict[str, Any] = {"return_dict": True}
    if hasattr(module.config, "use_cache"):
        options["use_cache"] = False
    takes = inspect.signature(module.forward).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in takes.values())
    options = {name: value for name, value in options.items() if takes_all or name in takes}
    with quiet():
        outputs = signature.outputs or _probe(source, module, signature.inputs, options)
        model = module_predictor(source, module, Signature(signature.inputs, outputs), **options)
        return _with_sentence_embedding(source, model)


def _with_sentence_embedding(source: ModelSource, model: TorchModel) -> TorchModel:
    """The model with the further output that sentence-transformers' files beside it ask for, computed inside it."""
    spec = embedding_spec(source.path, model.signature)
    if spec is None:
        return model
    pooled = pooling_of(source.path)

    def forward(tensors: dict[str, Any]) -> Any:
        outputs = dict(model.forward(tensors))
        return {**outputs, OUTPUT: pooled(tensors, outputs)}

    signature = Signature(model.signature.inputs, (*model.signature.outputs, spec))
    return torch_model(source, signature, forward, model.module)


def load_module(transformers: Any, source: ModelSource) -> Any:
    """The network of a folder with its weights, and its adapter merged into them.

    Raises:
        InvalidInput: weights are lacking, or the adapter does not belong to them.
        EnvironmentLacks: what puts an adapter on is not installed.
    """
    architectures = (read_json(source.path / "config.json") or {}).get("architectures") or []
    known = [getattr(transformers, name) for name in architectures if hasattr(transformers, name)]
    kind = known[0] if known else transformers.AutoModel
    module, missing = _load_as(kind, source)
    if missing and all("pooler." in name for name in missing):
        # a pooler that was never trained: without it the other outputs stand
        module, missing = _load_as(kind, source, add_pooling_layer=False)
    if missing:
        raise InvalidInput(
            f"{source.path} lacks weights that {type(module).__name__} needs: "
            f"{', '.join(sorted(missing)[:5])}. "
            "Save the whole model with save_pretrained."
        )
    return module if source.adapter is None else put_on(module, source, source.adapter)


def _load_as(kind: Any, source: ModelSource, **options: Any) -> tuple[Any, list[str]]:
    module, loading = kind.from_pretrained(
        str(source.path),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=None if source.allow_pickle else True,
        output_loading_info=True,
        **_unpacked(source),
        **options,
    )
    return module, list(loading["missing_keys"])


def _unpacked(source: ModelSource) -> dict[str, Any]:
    """On a processor weights in few bits are unpacked once, as they are loaded: else each call goes through a layer around them.

    Raises:
        EnvironmentLacks: what unpacks them is not installed.
    """
    said = (read_json(source.path / "config.json") or {}).get("quantization_config") or {}
    if said.get("quant_method") != "compressed-tensors":
        return {}
    with needs("compressed-tensors", "transformers", f"Running {source.name}"):
        import compressed_tensors  # noqa: F401
    from transformers import CompressedTensorsConfig

    return (
        {"quantization_config": CompressedTensorsConfig(run_compressed=False)}
        if source.device == "cpu"
        else {}
    )


def _signature(torch: Any, source: ModelSource, module: Any) -> Signature:
    """Inputs by modality: token ids [batch, sequence], pixels [batch, channels, height, width], audio."""
    takes = inspect.signature(module.forward).parameters
    main = module.main_input_name
    names = [name for name in _input_names(source, module) if name in takes]
    if main in takes and main not in names:
        names.insert(0, main)
    declared = [spec.name for spec in source.signature.inputs] if source.signature else []
    if declared:
        # a list with the main input is the whole list; a constant for one of the others adds to them
        names = declared if main in declared else list(dict.fromkeys([*names, *declared]))
        if unknown := [name for name in names if name not in takes]:
            raise InvalidInput(
                f"{source.name} has no input {', '.join(f'`{name}`' for name in unknown)}: "
                f"{type(module).__name__} takes {', '.join(takes)}."
            )
    specs = (_input(module.config, name) for name in names)
    without = {name for name, given in takes.items() if given.default is not given.empty} & FILLED.keys()
    return Signature(tuple(replace(s, optional="default") if s.name in without else s for s in specs), ())


def _input_names(source: ModelSource, module: Any) -> list[str]:
    tokenizer = source.path / "tokenizer_config.json"
    told = read_json(tokenizer).get("model_input_names") if tokenizer.is_file() else None
    if told:
        return [str(name) for name in told]
    if module.main_input_name != "input_ids":
        return [module.main_input_name]
    names = ["input_ids", "attention_mask"]
    if (getattr(module.config, "type_vocab_size", 0) or 0) > 1:
        names.append("token_type_ids")
    if getattr(module.config, "is_encoder_decoder", False):
        names.append("decoder_input_ids")
    return names


def _input(config: Any, name: str) -> TensorSpec:
    if name in _TEXT:
        return TensorSpec(name, "int64", ("batch", "target" if name.startswith("decoder") else "sequence"))
    if name == "pixel_values":
        size = getattr(config, "image_size", None)
        height, width = (size, size) if not isinstance(size, list | tuple) else (size[0], size[-1])
        axes: tuple[Size, ...] = (
            "batch",
            getattr(config, "num_channels", 3),
            height or "height",
            width or "width",
        )
        return TensorSpec(name, "float32", axes)
    if name == "input_values":
        return TensorSpec(name, "float32", ("batch", "samples"))
    return TensorSpec(name, "unknown", None)


def _probe(
    source: ModelSource, module: Any, inputs: tuple[TensorSpec, ...], options: dict[str, Any]
) -> tuple[TensorSpec, ...]:
    """The outputs as two tiny calls show them: an axis that changes with an input's size carries its name.

    A model that cannot be called so (a family with inputs of its own) keeps its outputs unknown.
    """
    import numpy as np

    predictor = module_predictor(source, module, Signature(inputs, ()), **options)
    seen = []
    for sizes in ({"batch": 2, "sequence": 7, "target": 5}, {"batch": 3, "sequence": 11, "target": 9}):
        batch = {}
        for spec in inputs:
            if spec.shape is None or not all(isinstance(axis, int) or axis in sizes for axis in spec.shape):
                return ()
            shape = tuple(axis if isinstance(axis, int) else sizes[str(axis)] for axis in spec.shape)
            batch[spec.name] = np.ones(shape, spec.dtype)
        try:
            seen.append((sizes, predictor(batch)))
        except InvalidInput:
            return ()
    (sizes, one), (other_sizes, other) = seen
    outputs = []
    for name, array in one.items():
        axes: list[Size] = []
        for size, other_size in zip(array.shape, other[name].shape, strict=True):
            match = [key for key in sizes if (size, other_size) == (sizes[key], other_sizes[key])]
            axes.append(size if size == other_size else (match[0] if match else None))
        outputs.append(TensorSpec(name, array.dtype.name, tuple(axes)))
    return tuple(outputs)
