"""The servers that a release can be packaged for: one row each, and a folder of templates of its name.

Layouts are the servers' own: Triton's model repository, MLServer's ``model-settings.json``, KServe's InferenceService,
BentoML's ``bentofile.yaml``, TorchServe's archiver, the variables of llama.cpp's server. Whatever a server's own tool does is left to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelServer:
    """What serves a released model.

    Attributes:
        name: as ``gradatim package --for`` has it; its templates lie in ``templates/package/NAME``.
        meaning: what is laid down, in a line.
        formats: the model formats that it serves, each with the server's own word for it.
        files: what is written, by its path in the package, with the template that it comes from; ``{name}`` is the model's.
        model: the folder of the package that the model's files lie in.
        asked: whether it serves models that are asked for text, and those alone.
        renamed: what the server wants the model's one file to be called, by its format.
        begin: what to type next, in the package's folder.
        then: what is to be known of the server.
    """

    name: str
    meaning: str
    formats: Mapping[str, str]
    files: Mapping[str, str]
    begin: str
    model: str = "model"
    asked: bool = False
    renamed: Mapping[str, str] | None = None
    then: str = ""


_RUN_HERE = {"onnx": "onnx", "litert": "litert"}
"""Formats whose runtime is small, and which need no code of the project's."""

_ROWS = (
    ModelServer(
        name="docker",
        meaning="A Dockerfile with the model, its runtime and a one-file app that speaks the Open Inference Protocol.",
        formats=_RUN_HERE,
        files={
            "Dockerfile": "docker/Dockerfile",
            ".dockerignore": "docker/dockerignore",
            "app.py": "docker/app.py",
            "predict.py": "predict.py",
            "requirements.txt": "requirements",
        },
        begin="docker build --tag {name}:{version} .",
    ),
    ModelServer(
        name="kserve",
        meaning="An InferenceService for Kubernetes, and the model as its storage should hold it.",
        formats={"onnx": "onnx", "torchscript": "pytorch", "huggingface": "huggingface"},
        files={"inferenceservice.yaml": "kserve/inferenceservice.yaml"},
        model="model",
        begin="kubectl apply --filename inferenceservice.yaml",
    ),
    ModelServer(
        name="triton",
        meaning="A model repository for NVIDIA Triton.",
        formats={"onnx": "onnxruntime", "torchscript": "pytorch"},
        files={"{name}/config.pbtxt": "triton/config.pbtxt"},
        model="{name}/1",
        renamed={"onnx": "model.onnx", "torchscript": "model.pt"},
        begin="tritonserver --model-repository .",
    ),
    ModelServer(
        name="mlserver",
        meaning="A model folder for MLServer, with a runtime of one file.",
        formats=_RUN_HERE,
        files={
            "settings.json": "mlserver/settings.json",
            "{name}/model-settings.json": "mlserver/model-settings.json",
            "{name}/runtime.py": "mlserver/runtime.py",
            "{name}/predict.py": "predict.py",
            "requirements.txt": "requirements",
        },
        model="{name}/model",
        begin="mlserver start .",
    ),
    ModelServer(
        name="bentoml",
        meaning="A BentoML service with its bentofile.yaml.",
        formats=_RUN_HERE,
        files={
            "service.py": "bentoml/service.py",
            "bentofile.yaml": "bentoml/bentofile.yaml",
            "predict.py": "predict.py",
            "requirements.txt": "requirements",
        },
        begin="bentoml serve service:Service",
    ),
    ModelServer(
        name="torchserve",
        meaning="A handler and the call of TorchServe's own archiver, which makes the .mar.",
        formats={"torchscript": "eager"},
        files={"handler.py": "torchserve/handler.py", "config.properties": "torchserve/config.properties"},
        begin="torch-model-archiver --model-name {name} --version {version} --serialized-file model/{file} --handler handler.py",
        then="TorchServe is in limited maintenance: its own project gets no planned updates.",
    ),
    ModelServer(
        name="tf-serving",
        meaning="A numbered SavedModel for TensorFlow Serving.",
        formats={"savedmodel": "tensorflow"},
        files={},
        model="{name}/1",
        begin='tensorflow_model_server --rest_api_port=8501 --model_name={name} --model_base_path="$PWD/{name}"',
    ),
    ModelServer(
        name="llama-cpp",
        meaning="A language model for llama.cpp's server, with its settings as variables.",
        formats={"gguf": "gguf"},
        files={"server.env": "llama-cpp/server.env"},
        asked=True,
        begin="env $(grep -v '^#' server.env) llama-server",
    ),
    ModelServer(
        name="vllm",
        meaning="A language model for vLLM, with its settings.",
        formats={"huggingface": "generate"},
        files={"config.yaml": "vllm/config.yaml"},
        asked=True,
        begin="vllm serve --config config.yaml",
    ),
    ModelServer(
        name="kserve-llm",
        meaning="An LLMInferenceService for Kubernetes, and the model as its storage should hold it.",
        formats={"huggingface": "generate"},
        files={"llminferenceservice.yaml": "kserve-llm/llminferenceservice.yaml"},
        asked=True,
        begin="kubectl apply --filename llminferenceservice.yaml",
    ),
)

SERVERS: Mapping[str, ModelServer] = {row.name: row for row in _ROWS}
"""ModelServer -> its row."""
