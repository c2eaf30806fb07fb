"""A GGUF file, run by llama.cpp in this process and asked by OpenAI's API, as a server elsewhere is."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from gradatim.errors import EnvironmentLacks, InvalidInput, needs
from gradatim.metrics.answers import REQUEST
from gradatim.models.endpoint import Endpoint
from gradatim.models.gguf_file import gguf_header
from gradatim.models.predictor import RuntimeModel
from gradatim.models.speech import ASKED, Speaker
from gradatim.signature import Inspection, Signature

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

_PLACES = 8192
"""Tokens of a prompt and its answer at most: memory grows with them."""
_AS_THEY_ARE = {"cache_prompt": False, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
"""Nothing remembered of the request before, and no sampling setting that the contract does not name."""


def open_gguf(source: ModelSource) -> RuntimeModel:
    """Load a GGUF file; one request at a time, so that the same requests get the same answers.

    Raises:
        InvalidInput: the file is broken, or the task asks for no text.
        EnvironmentLacks: ``xllamacpp`` is not installed, or a GPU is asked for.
    """
    if source.signature is None or source.signature.input(REQUEST) is None:
        raise InvalidInput(
            f"{source.name} is a language model that is asked for text: `task: {{type: generation, ...}}`."
        )
    if source.device != "cpu":
        raise EnvironmentLacks(
            f"{source.name} is run on the processor here. Serve it on the GPU and name the server in `model.endpoint`."
        )
    settings = gguf_header(source.path).settings
    with needs("xllamacpp", "gguf", f"Running {source.name}"):
        import xllamacpp
    said = xllamacpp.CommonParams()
    said.model.path, said.model_alias = str(source.path), {source.name}
    length = settings.get(f"{settings.get('general.architecture')}.context_length")
    said.n_ctx = min(length, _PLACES) if isinstance(length, int) and length > 0 else _PLACES
    said.n_parallel, said.warmup, said.use_jinja, said.verbosity = 1, False, True, -1
    said.cpuparams.n_threads = said.cpuparams_batch.n_threads = source.threads
    key = secrets.token_urlsafe(16)  # the server listens on this machine, and to us alone
    said.api_keys = [key]
    try:
        server = xllamacpp.Server(said)
    except Exception as error:
        raise InvalidInput(
            f"{source.path} cannot be loaded by llama.cpp: {error}. Convert the model again."
        ) from error
    url = f"{server.listening_address}/v1"
    endpoint = Endpoint(url=url, model=source.name, key=key, timeout=600.0, loopback=True)
    endpoint.name = source.name

    def release() -> None:
        nonlocal server
        endpoint.close()
        del server

    asked = Speaker(endpoint, always=_AS_THEY_ARE)
    return RuntimeModel(source.name, ASKED, asked, device="cpu", threads=source.threads, release=release)


def look_at_gguf(known: Inspection, source: ModelSource, signature: Callable[[], Signature]) -> Inspection:
    """Its header: how many numbers it holds, and who wrote it."""
    header = gguf_header(source.path)
    count = sum(prod(tensor.shape) for tensor in header.tensors.values())
    return replace(
        known, signature=ASKED, parameters=count, producer=str(header.settings.get("general.name", ""))
    )
