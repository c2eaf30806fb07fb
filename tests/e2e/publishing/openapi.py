"""A forge's OpenAPI document as the judge of every request and of every answer."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

GITHUB = ("@octokit/openapi", "23.0.2", "package/generated/api.github.com.json")
GITLAB = Path(__file__).parents[2] / "unit" / "gitlab_openapi.json"
_USED = re.compile(r"^/repos/\{owner\}/\{repo\}/(releases|git/ref/)")
_LISTS = ("links", "sources")
"""Assets of a release that GitLab answers as lists, as its REST pages show; its document forgets the lists."""


def github_document() -> dict[str, Any]:
    """The part of GitHub's own document that is about releases, from the npm package that ships it.

    It is fetched once and kept in the user's cache; without npm the test is skipped.
    """
    package, version, inside = GITHUB
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradatim-tests"
    kept = cache / f"github-releases-{version}.json"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(_part(_from_npm(package, version, inside))))
        temporary.replace(kept)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def gitlab_document() -> dict[str, Any]:
    """The part of GitLab's own document that is about releases and packages, closed: no field but its own is let pass."""
    document: dict[str, Any] = json.loads(GITLAB.read_text(encoding="utf-8"))
    assets = document["components"]["schemas"]["APIEntitiesRelease"]["properties"]["assets"]["properties"]
    for name in _LISTS:
        assets[name] = {"type": "array", "items": assets[name]}
    _close(document["components"]["schemas"])
    return document


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for part in schema:
            _close(part)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            schema["additionalProperties"] = False
        for part in schema.values():
            _close(part)


def _from_npm(package: str, version: str, inside: str) -> dict[str, Any]:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is not installed, and only it can fetch {package}")
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(
            [npm, "pack", "--silent", f"{package}@{version}"], cwd=folder, capture_output=True, text=True
        )
        if packed.returncode != 0:
            pytest.skip(f"npm cannot fetch {package}: {packed.stderr[-300:]}")
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            file = archive.extractfile(inside)
            assert file is not None
            document: dict[str, Any] = json.load(file)
    return document


def _part(document: dict[str, Any]) -> dict[str, Any]:
    """The operations that releases need, and every component that these refer to."""
    paths = {path: what for path, what in document["paths"].items() if _USED.match(path)}
    components: dict[str, dict[str, Any]] = {}
    open_ends = [json.dumps(paths)]
    while open_ends:
        for kind, name in re.findall(r'"#/components/(\w+)/([^"]+)"', open_ends.pop()):
            if name not in components.setdefault(kind, {}):
                components[kind][name] = document["components"][kind][name]
                open_ends.append(json.dumps(components[kind][name]))
    return {
        "openapi": document["openapi"],
        "info": document["info"],
        "paths": paths,
        "components": components,
    }


class Judge:
    """Validates what is asked and what is answered.

    Args:
        document: OpenAPI.
        server: where its paths begin.
        uploads: where those of operations with a server of their own begin.
    """

    def __init__(self, document: dict[str, Any], server: str, uploads: str = "") -> None:
        from openapi_core import Config, OpenAPI

        self._document = {**document, "servers": [{"url": server}]}
        for path in document["paths"].values():
            for operation in path.values():
                if isinstance(operation, dict) and "servers" in operation:
                    operation["servers"] = [{"url": uploads}]
        self._openapi = OpenAPI.from_dict(self._document, config=Config(spec_validator_cls=None))

    def request(
        self,
        method: str,
        host: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> str | None:
        """Why a request is not allowed; None when it is. What the document does not name is refused as well."""
        from openapi_core.datatypes import RequestParameters
        from openapi_core.exceptions import OpenAPIError
        from werkzeug.datastructures import Headers, ImmutableMultiDict

        before, found, ref = path.partition("/git/ref/")
        path = before + found + quote(ref, safe="")  # the document's one parameter that holds a slash
        self.asked = SimpleNamespace(
            host_url=host,
            path=path,
            method=method.lower(),
            parameters=RequestParameters(
                query=ImmutableMultiDict(query),
                header=Headers(list(headers.items())),
                cookie=ImmutableMultiDict(),
            ),
            content_type=headers.get("Content-Type", ""),
            body=body or None,
        )
        try:
            self._openapi.validate_request(self.asked)
        except OpenAPIError as error:
            return f"{type(error).__name__}: {error} {error.__cause__ or ''}"
        operation = self._operation(method, path)
        known = {self._resolved(parameter)["name"] for parameter in operation.get("parameters", [])}
        strange = set(query) - known
        if headers.get("Content-Type") == "application/json":
            strange |= set(json.loads(body)) - self.fields(method, path, "application/json")
        return f"not in the document: {', '.join(sorted(strange))}" if strange else None

    def fields(self, method: str, path: str, kind: str) -> set[str]:
        """The names of the fields that a body of some kind may have."""
        content = self._operation(method, path)["requestBody"]["content"][kind]["schema"]
        return set(self._resolved(content)["properties"])

    def response(self, status: int, body: bytes) -> str | None:
        """Why the answer to the last request is not what the document promises."""
        from openapi_core.exceptions import OpenAPIError

        answered = SimpleNamespace(
            status_code=status, headers={}, content_type="application/json", data=body or None
        )
        try:
            self._openapi.validate_response(self.asked, answered)
        except OpenAPIError as error:
            return f"{type(error).__name__}: {error} {getattr(error.__cause__, 'schema_errors', '')}"
        return None

    def example(self, name: str) -> Any:
        """An example that the document gives of something."""
        return json.loads(json.dumps(self._document["components"]["examples"][name]["value"]))

    def _operation(self, method: str, path: str) -> Any:
        for template, operations in self._document["paths"].items():
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
            if re.search(f"{pattern}$", path) and method.lower() in operations:
                return operations[method.lower()]
        raise AssertionError(path)

    def _resolved(self, what: Any) -> Any:
        while "$ref" in what:
            _, _, kind, name = what["$ref"].split("/")
            what = self._document["components"][kind][name]
        return what
