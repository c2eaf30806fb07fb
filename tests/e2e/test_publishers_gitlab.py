"""GitLab: the server of these tests takes nothing that GitLab's own OpenAPI document does not allow."""

from __future__ import annotations

import json

import pytest
from publishing.gitlab import TOKEN, GitLab

PROJECT = "/api/v4/projects/models%2Fdigits"
FILE = f"{PROJECT}/packages/generic/digits/v1.0.0+abc/digits.onnx"
LINK = {"name": "digits.onnx", "url": "http://127.0.0.1/x", "direct_asset_path": "/digits.onnx"}


@pytest.fixture(scope="module")
def gitlab() -> GitLab:
    pytest.importorskip("openapi_core")
    return GitLab(1)


def ask(gitlab: GitLab, method: str, target: str, said: object = None) -> int:
    headers = {"PRIVATE-TOKEN": TOKEN}
    if isinstance(said, dict):
        headers["Content-Type"] = "application/json"
    body = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
    return gitlab.answer(method, target, headers, body)[0]


@pytest.mark.parametrize(
    ("method", "target", "said"),
    [
        ("PATCH", f"{PROJECT}/releases", {"tag_name": "v1.0.0"}),
        ("GET", f"{PROJECT}/tags", None),
        ("GET", f"{PROJECT}/releases/v1.0.0?page=1", None),
        ("POST", f"{PROJECT}/releases", {"name": "v1.0.0"}),
        ("POST", f"{PROJECT}/releases", {"tag_name": "v1.0.0", "draft": True}),
        ("POST", f"{PROJECT}/releases", {"tag_name": "v1.0.0", "assets": {"files": []}}),
        ("POST", f"{PROJECT}/releases", {"tag_name": "v1.0.0", "assets": {"links": [{**LINK, "size": 3}]}}),
        (
            "POST",
            f"{PROJECT}/releases",
            {"tag_name": "v1.0.0", "assets": {"links": [{**LINK, "link_type": "file"}]}},
        ),
        ("GET", f"{PROJECT}/packages?status=secret", None),
        ("GET", f"{PROJECT}/packages?package=digits", None),
        ("GET", f"{PROJECT}/packages/1/package_files?per_page=many", None),
        ("PUT", f"{FILE}?status=secret", b"weights"),
        ("PUT", f"{FILE}?hidden=true", b"weights"),
        ("PUT", f"{PROJECT}/packages/generic/digits/v1..0/digits.onnx", b"weights"),
        ("PUT", f"{PROJECT}/packages/generic/digits/v1.0.0/~digits.onnx", b"weights"),
    ],
)
def test_what_the_document_does_not_allow_is_refused(
    gitlab: GitLab, method: str, target: str, said: object
) -> None:
    gitlab.refused.clear()
    assert ask(gitlab, method, target, said) == 400
    assert len(gitlab.refused) == 1


def test_what_the_document_allows_is_answered_as_it_says(gitlab: GitLab) -> None:
    gitlab.refused.clear()
    assert ask(gitlab, "PUT", f"{FILE}?status=hidden", b"weights") == 201
    assert ask(gitlab, "GET", f"{PROJECT}/packages?package_type=generic&status=hidden") == 200
    assert ask(gitlab, "GET", FILE) == 302
    assert ask(gitlab, "GET", f"{PROJECT}/releases/v1.0.0") == 404
    assert gitlab.refused == []
