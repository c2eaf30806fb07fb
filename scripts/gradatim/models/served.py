"""A model that a server answers for by the Open Inference Protocol (v2): KServe, Triton, MLServer, what `package` makes."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.models.predictor import Arrays, short

_FLOATS = {"float16": "FP16", "float32": "FP32", "float64": "FP64", "bool": "BOOL"}


class InferenceServer:
    """Asks a server for one model's answers; any number of threads may, each over a connection of its own that is kept.

    Args:
        url: ``http://HOST/v2/models/NAME``.
        timeout: seconds for an answer.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._url, self._timeout = urlsplit(url), timeout
        self._mine = threading.local()

    def asking(self, inputs: Arrays) -> Callable[[], bytes]:
        """What asks for the answer to these inputs, whose bytes are made once; it gives the bytes of the answer.

        Raises, when called:
            InvalidInput: it answers with another status than 200, or breaks off.
            EnvironmentLacks: it cannot be reached.
        """
        body = json.dumps({"inputs": [_told(name, values) for name, values in inputs.items()]}).encode()
        return lambda: self._posted(body)

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """The answer, by output; raises as ``asking`` does."""
        answer = self.asking(inputs)()
        try:
            return {
                one["name"]: np.asarray(one["data"]).reshape(one["shape"])
                for one in json.loads(answer)["outputs"]
            }
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(
                f"{self._url.geturl()} gave an answer that the Open Inference Protocol does not have: {short(error)}"
            ) from None

    def _posted(self, body: bytes) -> bytes:
        """One request; once more over a new connection where the server had closed the one that was kept."""
        fresh = not hasattr(self._mine, "connection")
        try:
            if fresh:
                self._mine.connection = self._connection()
            status, data = self._asked(self._mine.connection, body)
        except (OSError, http.client.HTTPException) as error:
            self._mine.__dict__.pop("connection").close()
            if not fresh and not isinstance(error, TimeoutError):
                return self._posted(body)
            what = (
                "refuses the connection"
                if isinstance(error, ConnectionRefusedError)
                else f"breaks off: {short(error)}"
            )
            raise EnvironmentLacks(f"{self._url.geturl()} {what}. See whether the server is well.") from None
        if status != http.client.OK:
            raise InvalidInput(
                f"{self._url.geturl()} answers with HTTP {status}: {data[:200].decode(errors='replace')}"
            )
        return data

    def _asked(self, connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
        connection.request("POST", f"{self._url.path}/infer", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(self._url.netloc, timeout=self._timeout)


def _told(name: str, values: NDArray[Any]) -> Mapping[str, Any]:
    dtype = values.dtype.name
    datatype = _FLOATS.get(dtype) or (dtype.upper() if dtype[:3] in ("int", "uin") else "BYTES")
    return {"name": name, "shape": list(values.shape), "datatype": datatype, "data": values.ravel().tolist()}
