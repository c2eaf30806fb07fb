"""TensorFlow in this process: imported quietly, with its threads, and what goes in and comes out of it as arrays."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import EnvironmentLacks, needs
from gradatim.models.variables import variables

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource


def import_tensorflow(source: ModelSource) -> Any:
    """TensorFlow, with the source's threads unless it computed in this process before: then those stay.

    Raises:
        EnvironmentLacks: it is missing, or a GPU is asked for.
    """
    if source.device != "cpu":
        raise EnvironmentLacks(
            f"TensorFlow's models run on the CPU here: set `model.device: cpu` for {source.name}."
        )
    with (
        needs("tensorflow", "tensorflow", f"Running {source.name}"),
        variables(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1"),
    ):
        import tensorflow
    logging.getLogger("tensorflow").setLevel(logging.CRITICAL)
    threading = tensorflow.config.threading
    try:
        threading.set_intra_op_parallelism_threads(source.threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # it has computed already
        pass
    return tensorflow


def import_keras(source: ModelSource) -> Any:
    """Keras, on TensorFlow.

    Raises:
        EnvironmentLacks: it is missing, or computes with something else in this process.
    """
    import_tensorflow(source)
    with needs("keras", "tensorflow", f"Running {source.name}"), variables(KERAS_BACKEND="tensorflow"):
        import keras
    if keras.backend.backend() != "tensorflow":
        raise EnvironmentLacks(
            f"Keras computes with {keras.backend.backend()} in this process, and {source.name} is run on TensorFlow: take "
            "KERAS_BACKEND out of the environment."
        )
    return keras


def threads_of(tensorflow: Any) -> int:
    """The threads that one operator may use."""
    return int(tensorflow.config.threading.get_intra_op_parallelism_threads())


def to_array(tensor: Any) -> NDArray[Any]:
    """A tensor as an array: of texts where it holds bytes, of floats where numpy lacks its dtype."""
    if hasattr(tensor, "to_tensor"):  # ragged: rows are filled up
        tensor = tensor.to_tensor()
    if hasattr(tensor, "dense_shape"):
        import tensorflow

        tensor = tensorflow.sparse.to_dense(tensor)
    array: NDArray[Any] = np.asarray(tensor.numpy())
    if array.dtype.kind in "OS":
        texts = [item.decode(errors="replace") for item in array.ravel()]
        return np.array(texts, np.str_).reshape(array.shape)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def dtype_of(tensor: Any) -> str:
    """numpy's name of a tensor's dtype, as signatures spell it."""
    name = str(getattr(tensor.dtype, "name", tensor.dtype))
    return "str" if name == "string" else name
