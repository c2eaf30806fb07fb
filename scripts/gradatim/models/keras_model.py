"""Keras models (.keras), run by Keras on TensorFlow."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from gradatim.errors import GradatimError
from gradatim.models.keras_archive import signature_in
from gradatim.models.predictor import Arrays, RuntimeModel, failed, refine
from gradatim.models.tensorflow_runtime import dtype_of, import_keras, import_tensorflow, threads_of, to_array
from gradatim.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource


class TensorFlowModel(RuntimeModel):
    """A model of TensorFlow's.

    Attributes:
        function: of a table of tensors, gives another.
        loaded: what must live as long as that.
    """

    function: Any
    loaded: Any


def open_keras(source: ModelSource) -> TensorFlowModel:
    """Load a ``.keras`` file in safe mode, uncompiled; a model whose pickles are trusted may bring Python.

    Raises:
        InvalidInput: it is broken, or needs classes that are not Keras's.
        EnvironmentLacks: keras or tensorflow is missing, or a GPU is asked for.
    """
    tensorflow, keras = import_tensorflow(source), import_keras(source)
    try:
        model = keras.models.load_model(source.path, compile=False, safe_mode=not source.allow_pickle)
        inputs, outputs = list(model.inputs), list(model.outputs)
    except GradatimError:
        raise
    except Exception as error:  # Keras raises what it likes on a broken file
        raise failed(str(source.path), "cannot be loaded by Keras", error) from error
    with zipfile.ZipFile(source.path) as archive:
        said = signature_in(json.loads(archive.read("config.json")))
    into = [spec.name for spec in said.inputs] if said else [tensor.name for tensor in inputs]
    out = [spec.name for spec in said.outputs] if said else [f"output_{at}" for at in range(len(outputs))]
    own = Signature(
        tuple(_spec(name, tensor) for name, tensor in zip(into, inputs, strict=True)),
        tuple(_spec(name, tensor) for name, tensor in zip(out, outputs, strict=True)),
    )

    def answer(tensors: dict[str, Any]) -> dict[str, Any]:
        given = [tensors[name] for name in into]
        given = (
            given[0]
            if isinstance(model, keras.Sequential)
            else keras.tree.pack_sequence_as(model.input, given)
        )
        return dict(zip(out, keras.tree.flatten(model(given, training=False)), strict=True))

    specs = {
        name: tensorflow.TensorSpec(tensor.shape, tensor.dtype, name=name)
        for name, tensor in zip(into, inputs, strict=True)
    }
    function = tensorflow.function(answer, input_signature=[specs])
    predictor = tensorflow_model(source, own, function)
    predictor.function = answer  # untraced, as a converter wants it
    predictor.loaded = tensorflow.Module()
    predictor.loaded.kept = [
        variable.value for variable in model.variables
    ]  # those of Keras a converter does not find
    return predictor


def tensorflow_model(source: ModelSource, own: Signature, function: Any) -> TensorFlowModel:
    """A Predictor over a function of a table of tensors, which gives another."""
    tensorflow = import_tensorflow(source)

    def call(given: Arrays) -> dict[str, NDArray[Any]]:
        tensors = {
            name: tensorflow.constant(array.tolist() if array.dtype.kind in "OU" else array)
            for name, array in given.items()
        }
        return {name: to_array(tensor) for name, tensor in function(tensors).items()}

    signature = refine(source.name, own, source.signature)
    return TensorFlowModel(source.name, signature, call, device="cpu", threads=threads_of(tensorflow))


def _spec(name: str, tensor: Any) -> TensorSpec:
    shape = None if tensor.shape is None else tuple(tensor.shape)
    return TensorSpec(
        name, dtype_of(tensor), shape and ("batch" if shape[0] is None else shape[0], *shape[1:])
    )
