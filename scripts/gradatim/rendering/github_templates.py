"""GitHub's templates, filled in: where expressions keep their own braces, and every action of others has its commit."""

from __future__ import annotations

import json
import re
from typing import Any

from gradatim.rendering.plain import environment

PINS = {
    "attest": "1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2",
    "create-github-app-token": "fee1f7d63c2ff003460e3d139729b119787bc349 # v2.2.2",
    "checkout": "3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "setup-python": "5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0",
    "upload-artifact": "043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1",
    "download-artifact": "3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1",
    "codeql-action": "9e907b5e64f6b83e7804b09294d44122997950d6 # v4.32.3",
    "scorecard-action": "4eaacf0543bb3f2c246792bd56e8cdeffafb205a # v2.4.3",
    "cache": "55cc8345863c7cc4c66a329aec7e433d2d1c52a9 # v6.1.0",
}
"""Actions of others, each at a commit."""


def render_template(template: str, **values: Any) -> str:
    made = environment("github", ("[", "]"))
    made.filters["quoted"] = _quoted
    text: str = made.get_template(template).render(pins=PINS, **values)
    return text


def _quoted(value: str) -> str:
    """A YAML scalar: plain where that is safe, else in double quotes."""
    plain = re.fullmatch(r"[A-Za-z][\w./-]*|\$\{\{ [\w.]+ \}\}", value)
    ambiguous = value.lower() in ("true", "false", "yes", "no", "on", "off", "null")
    return value if plain and not ambiguous else json.dumps(value, ensure_ascii=False)
