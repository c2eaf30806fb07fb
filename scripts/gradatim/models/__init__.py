"""A model as something to call: ONNX, PyTorch, Hugging Face, LiteRT, or the user's own code."""

from gradatim.models.batching import batch_size, batched
from gradatim.models.formats import UnknownFormat, detect_format, runtime_of
from gradatim.models.inspection import inspect_model, model_files
from gradatim.models.opening import asked_for_text, convert_model, export_model, exportable, open_model
from gradatim.models.predictor import Arrays, Predictor, observed_signature
from gradatim.models.ready import ready
from gradatim.models.released_only import UnreleasedFile
from gradatim.models.stateful import bind
from gradatim.models.tokenizer import encoded

__all__ = [
    "Arrays",
    "Predictor",
    "UnknownFormat",
    "UnreleasedFile",
    "asked_for_text",
    "batch_size",
    "batched",
    "bind",
    "convert_model",
    "detect_format",
    "encoded",
    "export_model",
    "exportable",
    "inspect_model",
    "model_files",
    "observed_signature",
    "open_model",
    "ready",
    "runtime_of",
]
