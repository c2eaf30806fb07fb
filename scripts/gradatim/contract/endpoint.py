"""What a contract says of a language model that is asked over HTTP, by OpenAI's API."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gradatim.contract.values import Seconds, Section, Text, shorthand


def _plain_address(url: str) -> str:
    if not re.fullmatch(
        r"https?://[^@?#\s]+", url
    ):  # what was written may hold a password: it is not repeated
        raise ValueError(
            "an address such as http://127.0.0.1:8080/v1 is wanted, without a user or a password"
        )
    return url.rstrip("/")


Url = Annotated[str, AfterValidator(_plain_address)]


class ServedModel(Section):
    """Where a server answers for a model, and what it calls it."""

    url: Url = Field(description="Address that OpenAI's API begins at: `http://127.0.0.1:8080/v1`.")
    model: Text | None = Field(
        None, description="The model's id there; the only one that it serves when left out."
    )


class ServerSection(ServedModel):
    """A server that is asked: vLLM, llama.cpp, TGI, Ollama and others speak so."""

    key: Text | None = Field(
        None, description="Name of the environment variable that holds the key; nothing else sees it."
    )
    parallel: int = Field(4, ge=1, le=256, description="Requests that are under way at a time.")
    timeout: Seconds = Field(
        120, description="For one answer, with all that is tried again: what takes longer failed."
    )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the key is sent."""
        return (self.url,)

    @model_validator(mode="after")
    def _keeps_its_key(self) -> ServerSection:
        for url in self.addresses if self.key else ():
            if not url.startswith("https:") and not is_loopback(urlsplit(url).netloc):
                raise ValueError(f"`key` would travel in clear text to {url}: use https, or this machine")
        return self


class EndpointSection(ServerSection):
    """A server that answers for the model."""

    baseline: Annotated[ServedModel, shorthand("url", ServedModel)] | None = Field(
        None,
        description="Where the release that would be replaced is served meanwhile, so that both can be asked.",
    )

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.url, *([self.baseline.url] if self.baseline else ()))


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine: a server there may speak plain HTTP."""
    name = urlsplit(f"//{host}").hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost"
