"""The formats that a model's file may have: one row each, for all who must know about it.

The contract's schema, what `init` looks for, which extra CI installs, what the model card and the bill of materials call
it come from these rows. A format is a row here and a file in ``gradatim.models`` that opens it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class ModelFormat:
    """A format of models.

    Attributes:
        name: as the contract spells it, in ``model.format``.
        opens: ``module:function`` below ``gradatim.models``: gives the Predictor of a ModelSource. The module is imported
            by the first model of the format.
        generates: the same for a model that is asked for text; None where its models cannot be.
        looks: ``module:function`` below ``gradatim.models`` that completes an Inspection without running the model; None
            where the model itself is loaded and tells its signature.
        exports: ``module:function`` below ``gradatim.models`` that writes an opened model as ONNX, of model, batch and path;
            None where none can be.
        converts: the same that writes it as LiteRT, of model, batches, path and ``litert_export.Numbers``.
        suffixes: how its files' names end.
        magic: bytes that all its files have at a place, where those tell it; whatever reads such a file runs nothing of it.
        extra: the extra of the kit that brings its runtime.
        packages: distributions that run it, imported before it is timed.
        modules: modules of theirs that opening imports besides, where that is dear.
        library: its name on a model card, as the Hugging Face Hub knows it.
    """

    name: str
    opens: str
    generates: str | None = None
    looks: str | None = None
    exports: str | None = None
    converts: str | None = None
    vouches: str | None = None
    suffixes: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    magic: tuple[int, bytes] | None = None
    extra: str | None = None
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    library: str | None = None

    def begins(self, head: bytes) -> bool:
        """Whether a file that begins so says itself that it is of this format."""
        return self.magic is not None and head.startswith(self.magic[1], self.magic[0])

    def made_of(self, names: Collection[str], *, folder: bool) -> bool:
        """Whether files of these names, in a folder or else in a zip, are a model of this format."""
        return bool(self.members) and folder is not bool(self.suffixes) and set(self.members) <= set(names)


_ROWS = (
    ModelFormat(
        name="onnx",
        opens="onnx_runtime:open_onnx",
        generates="onnx_generation:open_onnx_generator",
        looks="onnx_graph:look_at_onnx",
        suffixes=(".onnx",),
        extra="onnx",
        packages=("onnxruntime",),
        library="onnx",
    ),
    ModelFormat(
        name="stages",
        opens="stages:open_stages",
        members=("stages.json",),
        extra="onnx",
        packages=("onnxruntime",),
        library="onnx",
    ),
    ModelFormat(
        name="huggingface",
        opens="hugging_face:open_hugging_face",
        generates="generation:open_generator",
        looks="weights:look_at_safetensors",
        exports="onnx_export:export_torch",
        extra="transformers",
        packages=("transformers", "torch"),
        modules=("transformers.modeling_utils",),
        library="transformers",
    ),
    ModelFormat(
        name="pt2",
        opens="torch_program:open_torch",
        looks="torch_program:look_at_torch",
        exports="onnx_export:export_torch",
        converts="litert_export:export_litert",
        suffixes=(".pt2",),
        extra="torch",
        packages=("torch",),
        modules=("torch.export.pt2_archive._package", "torch.export._trace"),
        library="pytorch",
    ),
    ModelFormat(
        name="torchscript",
        opens="torch_program:open_torch",
        looks="torch_program:look_at_torch",
        exports="onnx_export:export_torch",
        converts="litert_export:export_litert",
        suffixes=(".torchscript", ".ts", ".pt", ".pth"),
        extra="torch",
        packages=("torch",),
        library="pytorch",
    ),
    ModelFormat(
        name="litert",
        opens="litert:open_litert",
        looks="litert:look_at_litert",
        suffixes=(".tflite",),
        magic=(4, b"TFL3"),
        extra="litert",
        packages=("ai-edge-litert",),
        library="tflite",
    ),
    ModelFormat(
        name="keras",
        opens="keras_model:open_keras",
        looks="keras_archive:look_at_keras",
        exports="tensorflow_export:export_onnx",
        converts="tensorflow_export:export_litert",
        vouches="keras_archive:vouch_for_keras",
        suffixes=(".keras",),
        members=("config.json", "metadata.json"),
        extra="tensorflow",
        packages=("keras", "tensorflow"),
        library="keras",
    ),
    ModelFormat(
        name="savedmodel",
        opens="saved_model:open_saved_model",
        looks="saved_model:look_at_saved_model",
        exports="tensorflow_export:export_onnx",
        converts="tensorflow_export:export_litert",
        vouches="saved_model:vouch_for_saved_model",
        members=("saved_model.pb",),
        extra="tensorflow",
        packages=("tensorflow",),
        library="keras",
    ),
    ModelFormat(
        name="gguf",
        opens="gguf:open_gguf",
        generates="gguf:open_gguf",
        looks="gguf:look_at_gguf",
        suffixes=(".gguf",),
        magic=(0, b"GGUF"),
        extra="gguf",
        packages=("xllamacpp",),
        library="gguf",
    ),
    ModelFormat(
        name="safetensors",
        opens="torch_program:open_torch",
        looks="weights:look_at_safetensors",
        exports="onnx_export:export_torch",
        converts="litert_export:export_litert",
        suffixes=(".safetensors",),
        extra="torch",
        packages=("torch", "safetensors"),
        library="pytorch",
    ),
    ModelFormat(name="python", opens="python_callable:open_python", generates="python_callable:open_python"),
    ModelFormat(name="command", opens="command:open_command", generates="command:open_command"),
    ModelFormat(
        name="endpoint",
        opens="endpoint:open_endpoint",
        generates="endpoint:open_endpoint",
        extra="endpoint",
        packages=("requests",),
    ),
    ModelFormat(
        name="pickle",
        opens="torch_program:open_torch",
        looks="torch_program:look_at_torch",
        exports="onnx_export:export_torch",
        converts="litert_export:export_litert",
        extra="torch",
        packages=("torch",),
    ),
)
"""`init` prefers the earlier one, where a repository holds several models."""

FORMATS: Mapping[str, ModelFormat] = {row.name: row for row in _ROWS}
"""Format -> its row."""


def extra_of(path: str | None, name: str | None = None) -> str | None:
    """The extra of the kit that runs a model, by its format or by how its file is called; None where nothing tells it."""
    if name is None and path is not None:
        suffix = PurePosixPath(path).suffix.lower()
        name = next((row.name for row in _ROWS if suffix in row.suffixes), None) if suffix else "huggingface"
    return FORMATS[name].extra if name else None


def on_gpu(extras: Iterable[str]) -> tuple[str, ...]:
    """The same extras for a job on a GPU: ONNX Runtime and torch with CUDA, never beside those without, and what asks the GPU.

    ``onnxruntime`` and ``onnxruntime-gpu`` share a folder: of two that are installed, files of both lie in it.
    """
    return tuple(sorted({"gpu", *("onnx-gpu" if name == "onnx" else name for name in extras)}))
