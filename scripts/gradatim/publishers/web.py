"""HTTP to a place that releases are published to: tried again where that helps, and in words where it fails."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from gradatim.errors import EnvironmentLacks, missing_package
from gradatim.registry.git import pause

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 20
_TIMEOUT = (10, 300)
"""Seconds to connect, and to wait for the next bytes."""
_ATTEMPTS = 6
_Done = TypeVar("_Done")


class Changed(Exception):
    """Something that was listed is gone, or something new is in the way: somebody else does the same."""


def patiently(place: str, work: Callable[[], _Done]) -> _Done:
    """Do something again when what it saw changed meanwhile, a few times.

    Args:
        place: what the place is called in errors.
        work: looks what is there and goes on from it; raises ``Changed``.

    Raises:
        EnvironmentLacks: it changes again and again.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return work()
        except Changed:
            pause(attempt)
    raise EnvironmentLacks(f"{place} changes while it is being written to. Run the same command again.")


class Web:
    """A session with one place.

    A request is repeated after a broken connection, a 429 or a 5xx, with growing pauses. So the same request may
    arrive twice, and whoever sends one that creates something must look what is there when it is refused.

    Args:
        place: what the place is called in errors.
        extra: the extra that brings the package ``requests``.
        headers: sent with every request; never a secret.
    """

    def __init__(self, place: str, extra: str, headers: dict[str, str] | None = None) -> None:
        try:
            import requests
            from requests.adapters import HTTPAdapter
            from urllib3 import Retry
        except ImportError as error:
            raise missing_package("requests", extra, f"Publishing to {place}") from error
        self.place = place
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
                method, url, auth=_Header(authorization), timeout=_TIMEOUT, **how
            )
        if response.status_code >= 500 or response.status_code == 429:
            raise EnvironmentLacks(
                f"{self.place} answers {response.status_code} again and again. "
                "Run the same command again later: it resumes."
            )
        return response

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
            raise EnvironmentLacks(
                f"{self.place} cannot be reached ({type(error).__name__}). "
                "Run the same command again when it can: it resumes."
            ) from None


class _Header:
    """Sets one header, so that nothing is taken from ~/.netrc instead."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine: a server there may speak plain HTTP."""
    name = urlsplit(f"//{host}").hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost"


def explained(response: requests.Response) -> str:
    """What a server says about a refusal, on one line: ``422: tag_name already exists``."""
    try:
        said = response.json()
    except ValueError:
        said = None
    text = ""
    if isinstance(said, dict):
        for error in [said, *(e for e in _list(said.get("errors")) if isinstance(e, dict))]:
            text = str(error.get("message") or error.get("error") or error.get("code") or text)
    return f"{response.status_code}: {' '.join(text.split())[:300]}" if text else f"{response.status_code}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
