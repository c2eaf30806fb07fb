"""HTTP to a place that releases are published to: tried again where that helps, and in words where it fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gradatim.errors import CONNECT_SECONDS, patience
from gradatim.publishers.publisher import Publisher
from gradatim.publishers.transfer import refused, unreachable

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 20


class Web:
    """A session with one place.

    A request is repeated after a broken connection, a 429 or a 5xx, with growing pauses. So the same request may
    arrive twice, and whoever sends one that creates something must look what is there when it is refused.

    Args:
        publisher: whose place it is, for errors.
        headers: sent with every request; never a secret.

    Raises:
        EnvironmentLacks: the package ``requests`` is not installed.
    """

    def __init__(self, publisher: Publisher, headers: Mapping[str, str] | None = None) -> None:
        publisher.package("requests")  # it is named where it is missing
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3 import Retry

        self._place, self._access = publisher.location, publisher.access
        retry = Retry(
            total=5,
            connect=2,
            backoff_factor=0.5,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,
            raise_on_status=False,
        )
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": "gradatim", **(headers or {})})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def send(
        self, method: str, url: str, *, authorization: str | None = None, **how: Any
    ) -> requests.Response:
        """Send a request and return whatever status came back, 5xx excepted.

        Args:
            method: GET, PUT, ...
            url: where to.
            authorization: the header's value; not passed on when another host is redirected to.
            how: what ``requests`` takes: ``json``, ``data`` (bytes or a file), ``params``, ``headers``, ``stream``.

        Raises:
            EnvironmentLacks: the place cannot be reached, or keeps failing.
        """
        with self._reached():
            response = self._session.request(
                method, url, auth=_Header(authorization), timeout=(CONNECT_SECONDS, patience()), **how
            )
        if response.status_code >= 500 or response.status_code == 429:
            raise unreachable(self._place, f"it answers {response.status_code} again and again")
        return response

    def accepted(self, response: requests.Response, *statuses: int) -> requests.Response:
        """A response that has one of these statuses.

        Raises:
            EnvironmentLacks: it has another one.
        """
        if response.status_code in statuses:
            return response
        raise refused(self._place, response.status_code, _said(response), self._access)

    def stream(self, response: requests.Response) -> Iterator[bytes]:
        """The body of a response to a request with ``stream=True``, in pieces of 1 MiB."""
        with self._reached(), contextlib.closing(response):
            yield from response.iter_content(_CHUNK)

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        import requests

        try:
            yield
        except requests.RequestException as error:  # its text may hold a signed address
            raise unreachable(self._place, type(error).__name__) from None


class _Header:
    """Sets one header, so that nothing is taken from ~/.netrc instead."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def _said(response: requests.Response) -> str:
    """What a server says about a refusal: ``tag_name already exists``."""
    try:
        said = response.json()
    except ValueError:
        said = None
    text = ""
    if isinstance(said, dict):
        for error in [said, *(e for e in _list(said.get("errors")) if isinstance(e, dict))]:
            text = str(error.get("message") or error.get("error") or error.get("code") or text)
    return text


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
