"""TensorFlow's SavedModel: a folder with ``saved_model.pb`` and ``variables/``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import InvalidInput
from gradatim.files import list_files
from gradatim.models import pickles
from gradatim.models.keras_model import TensorFlowModel, tensorflow_model
from gradatim.models.predictor import failed, refine
from gradatim.models.saved_model_graph import SavedGraph
from gradatim.models.tensorflow_operators import COMPUTING
from gradatim.models.tensorflow_runtime import import_tensorflow
from gradatim.signature import Inspection, Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

GRAPH = "saved_model.pb"
_VARIABLES = re.compile(r"variables/variables\.(index|data-\d{5}-of-\d{5})")
_DEFAULT = "serving_default"
_INITIAL = "__saved_model_init_op"
_DTYPES = dict(
    enumerate(
        (
            "float32", "float64", "int32", "uint8", "int16", "int8", "str", "complex64", "int64", "bool", "qint8", "quint8", "qint32",
            "bfloat16", "qint16", "quint16", "uint16", "complex128", "float16", "resource", "variant", "uint32", "uint64",
        ),
        start=1,
    )
)  # fmt: skip
"""By TensorFlow's numbers (``types.proto``)."""


def vouch_for_saved_model(source: ModelSource) -> dict[Path, str | None]:
    """Why the graph and the variables beside it are not proven harmless; None where they are.

    Raises:
        InvalidInput: the graph is broken, or another one lies beside it.
    """
    names = list_files(source.path)
    if beside := [name for name in names if name in ("saved_model.pbtxt", "saved_model.cpb")]:
        raise InvalidInput(
            f"{source.path} holds {beside[0]} beside {GRAPH}: which of them counts is not known. Save the model again."
        )
    foreign = sorted(set(SavedGraph(source.path / GRAPH).operators) - COMPUTING)
    why = f"it runs {', '.join(foreign[:3])}, which is not known to compute alone" if foreign else None
    variables = [source.path / name for name in names if _VARIABLES.fullmatch(name)]
    return {source.path / GRAPH: why} | {path: pickles.doubt(path, raw=True) for path in variables}


def look_at_saved_model(
    known: Inspection, source: ModelSource, signature: Callable[[], Signature]
) -> Inspection:
    """What the graph says; TensorFlow is not imported."""
    graph = SavedGraph(source.path / GRAPH)
    own = _signature(graph, _chosen(graph, source))
    return replace(
        known,
        producer=f"tensorflow {graph.version}".strip(),
        operators=dict(sorted(graph.operators.items())),
        signature=refine(source.name, own, source.signature),
    )


def open_saved_model(source: ModelSource) -> TensorFlowModel:
    """Load a SavedModel, to call one of its signatures.

    Raises:
        InvalidInput: it is broken, or has several signatures and nothing says which.
        EnvironmentLacks: tensorflow is missing, or a GPU is asked for.
    """
    tensorflow = import_tensorflow(source)
    graph = SavedGraph(source.path / GRAPH)
    name = _chosen(graph, source)
    try:
        loaded = tensorflow.saved_model.load(str(source.path))
        function = loaded.signatures[name]
    except Exception as error:  # TensorFlow raises what it likes on a broken folder
        raise failed(str(source.path), "cannot be loaded by TensorFlow", error) from error

    def answer(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return dict(function(**tensors))

    model = tensorflow_model(source, _signature(graph, name), answer)
    model.loaded, model.function = loaded, answer
    return model


def _chosen(graph: SavedGraph, source: ModelSource) -> str:
    """The signature to call: the one whose names the contract declares, the default one, or the only one.

    Raises:
        InvalidInput: there is none, or several.
    """
    names = [name for name in graph.signatures if name != _INITIAL]
    told = source.signature
    if told is not None:
        asked, wanted = {spec.name for spec in told.inputs}, {spec.name for spec in told.outputs}
        fitting = [
            name
            for name in names
            if asked <= set(graph.signatures[name][0]) and wanted <= set(graph.signatures[name][1])
        ]
        names = fitting or names
    if _DEFAULT in names or len(names) == 1:
        return _DEFAULT if _DEFAULT in names else names[0]
    if not names:
        raise InvalidInput(
            f"{source.path} has no signature to call. Save it with one: `tf.saved_model.save(model, path, signatures=...)`."
        )
    kinds = "; ".join(f"`{name}` ({_shown(graph, name)})" for name in sorted(names))
    raise InvalidInput(
        f"{source.path} has several signatures and none is called {_DEFAULT}: {kinds}. Declare in `model.outputs` or `model.inputs` "
        "what only the one has that is meant, or save the model with that alone."
    )


def _shown(graph: SavedGraph, name: str) -> str:
    taken, given = graph.signatures[name]
    return f"{', '.join(sorted(taken))} -> {', '.join(sorted(given))}"


def _signature(graph: SavedGraph, name: str) -> Signature:
    taken, given = graph.signatures[name]
    return Signature(
        tuple(_spec(key, taken[key]) for key in sorted(taken)),
        tuple(_spec(key, given[key]) for key in sorted(given)),
    )


def _spec(name: str, tensor: Any) -> TensorSpec:
    sizes = [None if axis.size < 0 else int(axis.size) for axis in tensor.shape.sizes]
    shape = (
        None
        if tensor.shape.unknown
        else ("batch" if sizes[0] is None else sizes[0], *sizes[1:])
        if sizes
        else ()
    )
    return TensorSpec(name, _DTYPES.get(tensor.dtype, "unknown"), shape)
