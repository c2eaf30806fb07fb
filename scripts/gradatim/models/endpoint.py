"""A language model that a server answers for, by OpenAI's API: vLLM, llama.cpp, TGI, Ollama and others speak so."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from gradatim.errors import CONNECT_SECONDS, EnvironmentLacks, InvalidInput, needs
from gradatim.models.predictor import RuntimeModel, short
from gradatim.models.speech import ASKED, RequestFailed, Speaker
from gradatim.models.streaming import Piece, Streamed, events

if TYPE_CHECKING:
    import requests

    from gradatim.models.source import ModelSource

T = TypeVar("T")
Read = Callable[[Mapping[str, Any]], T]
"""Takes what is wanted out of an answer; any of ``_AMISS`` says that it is none of OpenAI's API."""

_AMISS = (KeyError, IndexError, TypeError, AttributeError)
_REQUEST_AT_FAULT = (400, 413, 422)
"""What a server says of a request that it cannot answer, such as one that is too long."""
_FOR_A_WHILE = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_AT_ONCE = 8
"""So many failed requests in a row are no matter of the requests."""
_MOST = 64 << 20
_PAUSE, _LONGEST_PAUSE = 0.25, 8.0


def open_endpoint(source: ModelSource) -> RuntimeModel:
    """Find the model at the server, which is asked for its list of models.

    Raises:
        EnvironmentLacks: the server cannot be reached or refuses us; ``requests`` is not installed.
        InvalidInput: it serves another model.
    """
    with needs("requests", "endpoint", f"Asking {source.endpoint['url']}"):
        import requests  # noqa: F401 (it is named where it is missing)
    server = Endpoint(**source.endpoint)
    parallel = int(source.endpoint["parallel"])
    return RuntimeModel(
        server.name,
        ASKED,
        Speaker(server, parallel),
        device=source.device,
        threads=parallel,
        release=server.close,
    )


class Endpoint:
    """One server and the model that is asked there.

    A request is sent again after a broken connection, half an answer, what is no JSON, a 429 or a 5xx, with growing pauses, until
    its time is over. Then it failed, and its row with it. So many failures in a row are an error that names the server.

    Args:
        url: where the API begins.
        model: the id of the model; None takes the only one.
        key: sent as a bearer token; None sends none.
        timeout: seconds for one answer, pauses and repetitions among them.
        place: the key of the contract that says all this.
    """

    def __init__(
        self, *, url: str, model: str | None, key: str | None, timeout: float, loopback: bool, place: str = "model.endpoint",
        **_: Any,
    ) -> None:  # fmt: skip
        import requests

        from gradatim.models.in_time import InTime

        self._place = place

        self.url = url.rstrip("/")
        self.name = f"the endpoint {self.url}"
        self._timeout, self._in_a_row, self._lock = timeout, 0, threading.Lock()
        self._session = requests.Session()
        self._session.trust_env = not loopback  # a proxy is no way to this machine
        self._session.auth = _Key(key)
        self._session.headers["User-Agent"] = "gradatim"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, InTime(pool_maxsize=256))
        self.model = self._find(model)

    def close(self) -> None:
        self._session.close()

    def send(self, path: str, body: Mapping[str, Any], read: Read[T]) -> T:
        """Send a request below the API's address and return what is wanted of its answer.

        Raises:
            RequestFailed: there is no answer to this one.
            InvalidInput: another model answers.
            EnvironmentLacks: the server is away, refuses us, or answers nothing any more.
        """

        def of_this_model(answer: Mapping[str, Any]) -> T:
            found = read(answer)
            self._is_ours(answer)
            return found

        with self._counted():
            return self._answer("POST", f"{self.url}/{path}", {"model": self.model, **body}, of_this_model)

    def stream(self, path: str, body: Mapping[str, Any], read: Read[Piece]) -> Streamed:
        """Send a request, once, and tell when each piece of its answer came; raises as ``send`` does."""

        def of_this_model(event: Mapping[str, Any]) -> Piece:
            found = read(event)
            self._is_ours(event)
            return found

        with self._counted():
            try:
                deadline = time.monotonic() + self._timeout
                return self._streamed(
                    f"{self.url}/{path}", {"model": self.model, **body}, deadline, of_this_model
                )
            except _Again as reason:
                raise RequestFailed(str(reason), ours=False) from None

    def _streamed(self, url: str, body: Mapping[str, Any], deadline: float, read: Read[Piece]) -> Streamed:
        began, times, tokens, ended = time.perf_counter(), list[float](), 0, 0.0
        with self._sent("POST", url, body, deadline) as response:
            if response.status_code != 200:
                raise self._refused(response, _read(response, deadline))
            for event in events(_pieces(response, deadline)):
                at = time.perf_counter() - began
                piece = Piece(last=True) if event is None else _taken(read, event)
                times += [at] if piece.text else []
                ended = at if piece.last else ended
                tokens = piece.tokens or tokens
        if not ended:
            raise _Again("half a stream: it ended before its answer did" if times else "no stream of events")
        return Streamed(tuple(times), tokens, ended)

    def _is_ours(self, answer: Mapping[str, Any]) -> None:
        if answer["model"] != self.model:
            raise InvalidInput(
                f"{self.url} was asked for the model `{self.model}`, and `{answer['model']}` answered. Say under "
                f"`{self._place}.model` which one is meant, as the server calls it."
            )

    def aside(self, path: str, body: Mapping[str, Any], read: Read[T]) -> T:
        """Ask beside the API what llama.cpp's server knows besides; raises as ``send`` does."""
        return self._answer("POST", f"{self.url.removesuffix('/v1')}/{path}", body, read)

    def _find(self, wanted: str | None) -> str:
        try:
            served = self._answer(
                "GET", f"{self.url}/models", None, lambda said: [str(one["id"]) for one in said["data"]]
            )
        except RequestFailed as failure:
            raise EnvironmentLacks(
                f"{self.url} does not say which models it serves (`GET {self.url}/models`): {failure}. See whether the server is "
                f"well, and whether `{self._place}.url` is where its API begins, which most often ends in /v1."
            ) from None
        if wanted is None and len(served) == 1:
            return served[0]
        if wanted is None or wanted not in served:
            what = f"does not serve `{wanted}`" if wanted else "serves several models"
            raise InvalidInput(
                f"{self.url} {what}: it has {', '.join(f'`{one}`' for one in served[:5]) or 'none'}. Name one of them in "
                f"`{self._place}.model`."
            )
        return wanted

    def _answer(self, method: str, url: str, body: Mapping[str, Any] | None, read: Read[T]) -> T:
        """The answer to one request, which is sent until there is one or its time is over."""
        deadline, pause = time.monotonic() + self._timeout, _PAUSE
        while True:
            try:
                return _taken(read, self._once(method, url, body, deadline))
            except _Again as reason:
                wait = max(pause, reason.after or 0.0)
                if time.monotonic() + wait >= deadline:
                    raise RequestFailed(
                        f"{reason} (and nothing better within {self._timeout:g} s)", ours=False
                    ) from None
                time.sleep(wait)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _once(
        self, method: str, url: str, body: Mapping[str, Any] | None, deadline: float
    ) -> Mapping[str, Any]:
        with self._sent(method, url, body, deadline) as response:
            data = _read(response, deadline)
        if response.status_code != 200:
            raise self._refused(response, data)
        try:
            found = json.loads(data)
            if not isinstance(found, dict):
                raise ValueError("no object")
        except (ValueError, RecursionError):
            raise _Again(f"what is no JSON object: {data[:60]!r}") from None
        return found

    @contextlib.contextmanager
    def _sent(
        self, method: str, url: str, body: Mapping[str, Any] | None, deadline: float
    ) -> Iterator[requests.Response]:
        """A request that is under way; what goes wrong with it is a reason to send it again."""
        import requests

        left = max(deadline - time.monotonic(), 0.001)
        try:
            with self._session.request(
                method,
                url,
                json=body,
                stream=True,
                allow_redirects=False,
                timeout=(min(CONNECT_SECONDS, left), left),
            ) as response:
                yield response
        except requests.RequestException as error:
            raise _Again(f"no answer: {_told(error)}") from None
        except OSError as error:
            raise _Again(f"half an answer: {short(error).rstrip('.')}") from None
        except ValueError as error:
            raise _Again(str(error)) from None

    def _refused(self, response: requests.Response, data: bytes) -> Exception:
        """What another status than 200 means for us."""
        said = f"HTTP {response.status_code}{_said(data)}"
        if response.status_code in _FOR_A_WHILE:
            after = response.headers.get("Retry-After", "")
            return _Again(said, float(after) if after.isdecimal() else None)
        if response.status_code in _REQUEST_AT_FAULT:
            return RequestFailed(said, ours=True)
        if response.status_code in (401, 403):
            return EnvironmentLacks(
                f"{self.url} refuses us: {said}. Name in `{self._place}.key` the environment variable that holds its key, and "
                "set that."
            )
        return EnvironmentLacks(f"{self.url} cannot be asked: {said}. Correct `{self._place}.url`.")

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Whether a request failed, and with it too many in a row."""
        try:
            yield
        except RequestFailed as failure:
            self._count(failure)
            raise
        self._in_a_row = 0

    def _count(self, failure: RequestFailed) -> None:
        """Give up where it is not the requests' fault.

        Raises:
            EnvironmentLacks: too many failed one after another.
        """
        with self._lock:
            self._in_a_row += 0 if failure.ours else 1
            if self._in_a_row >= _AT_ONCE:
                raise EnvironmentLacks(
                    f"{self.url} failed {self._in_a_row} times in a row, the last time with {failure}. A server in such a state says "
                    "nothing about its model: see its log, then run again."
                ) from None


def _taken(read: Read[T], answer: Mapping[str, Any]) -> T:
    try:
        return read(answer)
    except _AMISS:
        raise _Again(f"an answer that OpenAI's API does not have: {json.dumps(answer)[:100]}") from None


class _Again(Exception):
    """A reason to send a request again, after so many seconds where the server says so."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class _Key:
    """Sets the header, so that nothing is taken from ~/.netrc instead."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _read(response: requests.Response, deadline: float) -> bytes:
    """The whole body; raises as ``_pieces`` does."""
    return b"".join(_pieces(response, deadline))


def _pieces(response: requests.Response, deadline: float) -> Iterator[bytes]:
    """The body as it comes, within the time that is left.

    Raises:
        OSError: it ends too early, never ends or takes too long.
    """
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    size = 0
    try:
        while piece := response.raw.read1(1 << 16, decode_content=True):
            yield piece
            size += len(piece)
            if time.monotonic() > deadline:
                raise OSError("the rest did not come in time")
            if size > _MOST:
                raise OSError(f"more than {_MOST >> 20} MiB")
    except ReadTimeoutError:
        raise OSError("the rest did not come in time") from None
    except HTTPError as error:
        raise OSError(type(error).__name__) from None


def _told(error: Exception) -> str:
    """What went wrong with a connection, without the addresses and objects in urllib3's words."""
    import requests

    if isinstance(error, requests.Timeout):
        return "it took too long"
    return "the connection is refused" if "refused" in str(error) else "the connection broke"


def _said(data: bytes) -> str:
    """What a server says about a refusal, as ``: model not found``."""
    try:
        said = json.loads(data)
        error = said.get("error", said)
        text = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        text = None
    return f": {str(text)[:200]}" if text else ""
