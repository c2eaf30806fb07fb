"""Requests of ours in the words of OpenAI's API, and its answers in ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.metrics.answers import ANSWER, LIKELY, REQUEST, Spread, TextAnswer
from gradatim.models.streaming import Piece, Streamed
from gradatim.models.token_by_token import hears_nothing
from gradatim.signature import Signature, TensorSpec

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), (TensorSpec(ANSWER, "str", ("batch",)),))
"""What every model takes and gives that is asked for text."""

T = TypeVar("T")
_ENDED = ("stop", "eos_token", "stop_sequence")
"""How servers call the end of an answer that is whole."""
_FORCED = 1000.0
"""A bias that no logit outweighs: the token is taken, and its own likelihood told."""


class RequestFailed(Exception):
    """There is no answer to one request.

    Args:
        ours: whether it is the request that cannot be answered, and not the server that does not.
    """

    def __init__(self, reason: str, *, ours: bool) -> None:
        super().__init__(reason)
        self.ours = ours


class Api(Protocol):
    """Whatever speaks OpenAI's API."""

    @property
    def name(self) -> str: ...
    def send(self, path: str, body: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> T: ...
    def aside(self, path: str, body: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> T: ...
    def stream(
        self, path: str, body: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Piece]
    ) -> Streamed: ...


class Speaker:
    """Answers requests: what a RuntimeModel runs.

    Args:
        parallel: requests that are under way at a time.
        always: what every request says besides.
    """

    def __init__(self, api: Api, parallel: int = 1, always: Mapping[str, Any] | None = None) -> None:
        self._api, self._parallel, self._always = api, parallel, dict(always or {})
        self._beside: Mapping[str, Any] = _BESIDE_OPENAI

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        requests = [json.loads(str(line)) for line in inputs[REQUEST].reshape(-1)]
        with ThreadPoolExecutor(self._parallel) as pool:
            under_way = [pool.submit(self._answer, request) for request in requests]
            try:
                answers = [one.result() for one in under_way]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return {ANSWER: np.array([answer.to_text() for answer in answers], object)}

    def _answer(self, request: Mapping[str, Any]) -> TextAnswer:
        wants, said = request["wants"], dict[str, Any]()
        try:
            if "times" in wants:
                came = self._streamed(request)
                said["times"], said["tokens"] = came.times, came.tokens
            if "text" in wants:
                drawn = [self._text(request, sample) for sample in range(request["samples"])]
                said["texts"], said["cut"] = tuple(t for t, _ in drawn), tuple(c for _, c in drawn)
            if "choices" in wants:
                said["choices"] = tuple(
                    self._likelihood(request, text) for text in request.get("choices", ())
                )
            if "target" in request and "target" in wants:
                size = len(request["target"].encode())
                said["target"] = (self._likelihood(request, request["target"]), size)
            if "target" in request and "spread" in wants:
                said["spread"] = self._spread(request, request["target"])
        except RequestFailed as failure:
            return TextAnswer(error=str(failure))
        return TextAnswer(**said)

    def _text(self, request: Mapping[str, Any], sample: int) -> tuple[str, bool]:
        """One answer, and whether it was cut off."""
        path, body = self._asked(request, sample)
        chat = "messages" in request

        def read(answer: Mapping[str, Any]) -> tuple[Any, str]:
            choice = answer["choices"][0]
            return choice["message"]["content"] if chat else choice["text"], choice["finish_reason"]

        text, reason = self._api.send(path, body, read)
        if not isinstance(text, str) or reason not in (*_ENDED, "length"):
            raise RequestFailed(f"no text, for the answer ended by `{reason}`", ours=True)
        return text, reason == "length"

    def _asked(self, request: Mapping[str, Any], sample: int = 0) -> tuple[str, dict[str, Any]]:
        """Where a text is asked for, and how."""
        told = hashlib.sha256(f"{sample} {json.dumps(request, sort_keys=True)}".encode()).digest()
        if "audio" in request:
            raise hears_nothing(self._api.name)
        chat = "messages" in request
        body = {
            **self._always,
            **({"messages": request["messages"]} if chat else {"prompt": request["prompt"]}),
            "max_tokens": request["max_new_tokens"],
            "temperature": request["temperature"],
            "seed": int.from_bytes(told[:4], "big") >> 1,
            **{key: request[key] for key in ("top_p", "top_k") if request.get(key) is not None},
            **({"stop": list(request["stop"])} if request.get("stop") else {}),
        }
        return "chat/completions" if chat else "completions", body

    def _streamed(self, request: Mapping[str, Any]) -> Streamed:
        """When each piece of an answer came. One that is refused for what OpenAI's API does not have is asked without that."""
        path, body = self._asked(request)
        try:
            found = self._api.stream(path, {**body, "stream": True, **self._beside}, _piece)
        except RequestFailed as failure:
            if not (failure.ours and self._beside):
                raise
            try:
                found = self._api.stream(path, {**body, "stream": True}, _piece)
            except RequestFailed:
                raise failure from None
            self._beside = {}
        told = len(found.times) <= found.tokens <= request["max_new_tokens"]
        return found if told else replace(found, tokens=len(found.times))

    @cached_property
    def _knows_tokens(self) -> bool:
        """Whether it is llama.cpp's server, which also makes tokens of text."""
        try:
            return self._api.aside("tokenize", {"content": "a"}, lambda answer: "tokens" in answer)
        except (RequestFailed, EnvironmentLacks):
            return False

    def _likelihood(self, request: Mapping[str, Any], text: str) -> float:
        """Log-likelihood of a text after what is asked, nat."""
        if not self._knows_tokens:
            return self._echoed(request, text)
        return float(np.sum([token[0][1] for token in self._token_by_token(request, text)]))

    def _spread(self, request: Mapping[str, Any], text: str) -> tuple[Spread, ...]:
        """What else was likely in place of each token of a text."""
        if not self._knows_tokens:
            raise InvalidInput(
                f"{self._api.name} does not tell what else was likely in place of a token, which `kl` rests on. llama.cpp's server "
                "does; or give the weights, which are asked in this process."
            )
        return tuple(self._token_by_token(request, text, LIKELY))

    def _token_by_token(self, request: Mapping[str, Any], text: str, top: int = 1) -> list[Spread]:
        """By llama.cpp's server, which tells the likelihood of the token that it is made to take."""
        before = self._prompt(request)
        tokens = self._tokens(before)
        whole = self._tokens(before + text)
        if whole[: len(tokens)] != tokens or len(whole) == len(tokens):
            whole = [*tokens, *self._tokens(text, special=False)]
        first = max(len(tokens), 1)
        asked = "text" in request["wants"]  # just now, so that the prompt is remembered
        return [
            self._next(whole[:place], whole[place], top, again=asked or place > first)
            for place in range(first, len(whole))
        ]

    def _prompt(self, request: Mapping[str, Any]) -> str:
        if "messages" not in request:
            return str(request["prompt"])
        messages = {"messages": request["messages"]}
        return self._api.aside("apply-template", messages, lambda answer: str(answer["prompt"]))

    def _tokens(self, text: str, *, special: bool = True) -> list[int]:
        asked = {"content": text, "add_special": special, "parse_special": True}
        return self._api.aside("tokenize", asked, lambda answer: list(answer["tokens"]))

    def _next(self, tokens: Sequence[int], wanted: int, top: int, *, again: bool) -> Spread:
        body = {**self._always, "prompt": list(tokens), "max_tokens": 1, "temperature": 0, "n_probs": top}
        body |= {"logit_bias": [[wanted, _FORCED]], "cache_prompt": again}
        said = self._api.send("completions", body, lambda answer: answer["choices"][0].get("logprobs"))
        try:
            told = said["content"][0]
            if told["id"] != wanted:
                raise KeyError(told["id"])
            likely = [(int(one["id"]), float(one["logprob"])) for one in told["top_logprobs"]]
            return ((wanted, float(told["logprob"])), *likely)
        except (KeyError, IndexError, TypeError, ValueError):
            raise _tells_no_likelihood(self._api.name) from None

    def _echoed(self, request: Mapping[str, Any], text: str) -> float:
        """By a server that repeats the prompt with its likelihood, as vLLM does."""
        if "messages" in request:
            raise InvalidInput(
                f"{self._api.name} tells the likelihood of a text behind a `prompt`, not in a conversation. Write the rows as "
                "`prompt`, with the chat template filled in; or give the weights, which are asked in this process."
            )
        before = str(request["prompt"])
        body = {**self._always, "prompt": before + text, "max_tokens": 1, "temperature": 0}
        body |= {"echo": True, "logprobs": 1}
        said = self._api.send("completions", body, lambda answer: answer["choices"][0].get("logprobs"))
        try:
            pairs = zip(said["text_offset"], said["token_logprobs"], strict=True)
            size = len(before) + len(text)
            found = [value for place, value in pairs if len(before) <= place < size]
            if not found:
                raise KeyError("text_offset")
            return float(np.sum(np.array(found, np.float64)))
        except (KeyError, IndexError, TypeError, ValueError):
            raise _tells_no_likelihood(self._api.name) from None


_BESIDE_OPENAI = {"ignore_eos": True, "stream_options": {"include_usage": True}}
"""Answers of one length, and how many tokens that was: vLLM, llama.cpp, SGLang and TGI know one or both."""


def _piece(event: Mapping[str, Any]) -> Piece:
    told = (event.get("usage") or {}).get("completion_tokens")
    tokens = told if isinstance(told, int) else 0
    if not event["choices"]:
        return Piece(tokens=tokens)
    choice = event["choices"][0]
    said = choice["delta"] if "delta" in choice else {"content": choice["text"]}
    text = any(said.get(kind) for kind in ("content", "reasoning_content", "reasoning"))
    return Piece(text=text, last=bool(choice.get("finish_reason")), tokens=tokens)


def _tells_no_likelihood(name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} does not tell how likely a given text is (`echo` with `logprobs`), which `acc`, `acc_norm` and `bits_per_byte` "
        "rest on. Use scorers of what was generated, or give the weights, which are asked in this process."
    )
