"""Masking: lineage is published with the release, and what people log is not always meant for that."""

from __future__ import annotations

import itertools
import re

MASKED = "(masked)"

_WORDS = re.compile(r"[a-z0-9]+")
_SECRET = {
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secrets",
    "credential",
    "credentials",
    "apikey",
    "pat",
}
_PAIRS = {
    ("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key"), ("auth", "key"), ("account", "key"),
    ("connection", "string"),
}  # fmt: skip
_TOKENS_OF_TEXT = {
    "pad",
    "eos",
    "bos",
    "unk",
    "cls",
    "sep",
    "mask",
    "special",
    "stop",
    "image",
    "start",
    "end",
}
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_VALUES = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|xox[abeprs]-[\w-]{10,}|sk-[\w-]{20,}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+|dapi[0-9a-f]{32}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_LOGIN_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*@")


def is_secret(name: str, value: object) -> bool:
    """Whether a parameter must not be published: its name says so, or its value has the shape of a known key.

    A number is none (``max_tokens: 512``), nor is a token of text (``pad_token: <pad>``).
    """
    if not isinstance(value, str | list) or value in ("", [], "None", "null"):
        return False
    words = _WORDS.findall(_CAMEL.sub("_", name.rsplit(".", 1)[-1]).lower())
    named = bool(_SECRET & set(words)) or any(pair in _PAIRS for pair in itertools.pairwise(words))
    token = bool(words) and words[-1] == "token" and not _TOKENS_OF_TEXT & set(words)
    numeric = isinstance(value, str) and value.replace(".", "", 1).isdigit()
    return named or (token and not numeric) or _VALUES.search(str(value)) is not None


def without_login(text: str) -> str:
    """A text whose addresses have lost ``user:password@``."""
    return _LOGIN_IN_ADDRESS.sub(f"{MASKED}@", text)
