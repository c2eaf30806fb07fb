"""The grammar of tags, shared with gto, and the order of versions.

============================  ===============================================
``v1.4.0``                    a version, in a repository with one model
``v1.4.0-beta.2``             a pre-release of it
``digits@v1.4.0``             a version, in a repository with several models
``digits#production#3``       the third assignment: this commit is in production
``digits#production!#4``      it is no longer
``digits@v1.4.0!``            the version is withdrawn
``digits@deprecated``         the model is
``nlp=digits@v1.4.0``         the model ``digits`` of the folder ``nlp``
============================  ===============================================
"""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Literal, NamedTuple

from gradatim.errors import UsageError

Action = Literal["register", "deregister", "assign", "unassign", "deprecate", "create"]

_NAME = r"[a-zA-Z0-9](?:[a-zA-Z0-9\-/_]*[a-zA-Z0-9])?"
_NUMBER = r"0|[1-9]\d{0,99}"
"""Python reads none of more than 4300 digits."""
_IDENTIFIER = rf"(?:{_NUMBER}|\d*[a-zA-Z\-][0-9a-zA-Z\-]*)"
_SEMVER = (
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<prerelease>{_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+(?P<build>[0-9a-zA-Z\-]+(?:\.[0-9a-zA-Z\-]+)*))?"
)
_MODEL = rf"(?:[a-zA-Z0-9\-_./]+=)?{_NAME}"
_VERSION = re.compile(rf"v?{_SEMVER}", re.ASCII)
_BARE = re.compile(rf"v{_SEMVER}", re.ASCII)
_TAG = re.compile(
    rf"(?P<model>{_MODEL})"
    rf"(?:(?:#(?P<stage>{_NAME})|@v(?P<version>{_SEMVER}))(?P<cancel>!?)|@(?P<state>deprecated|created))"
    r"(?:#(?P<counter>[0-9]{1,100}))?",
    re.ASCII,
)
_MODEL_NAME = re.compile(rf"(?:[a-zA-Z0-9\-_./]+:)?{_NAME}", re.ASCII)
_STAGE_NAME = re.compile(_NAME, re.ASCII)


@total_ordering
class SemVer:
    """A semantic version [1]_, ordered by its precedence; build metadata is kept and does not count.

    .. [1] https://semver.org/spec/v2.0.0.html
    """

    __slots__ = ("build", "major", "minor", "patch", "precedence", "prerelease")

    def __init__(self, major: int, minor: int, patch: int, prerelease: str = "", build: str = "") -> None:
        self.major = major
        self.minor = minor
        self.patch = patch
        self.prerelease = prerelease
        self.build = build
        self.precedence = (major, minor, patch, _precedence(prerelease))

    @classmethod
    def parse(cls, text: str) -> SemVer:
        """Read ``1.4.0``, ``v1.4.0`` or ``v1.4.0-beta.2``.

        Raises:
            UsageError: it is no semantic version.
        """
        match = _VERSION.fullmatch(text)
        if match is None:
            raise UsageError(f"`{text}` is not a version. Versions look like v1.4.0 or v1.4.0-beta.2.")
        return cls._of(match)

    @classmethod
    def _of(cls, match: re.Match[str]) -> SemVer:
        major, minor, patch, prerelease, build = match.group("major", "minor", "patch", "prerelease", "build")
        return cls(int(major), int(minor), int(patch), prerelease or "", build or "")

    @property
    def core(self) -> SemVer:
        """The release that a pre-release leads to: ``v2.0.0`` for ``v2.0.0-rc.1``."""
        return SemVer(self.major, self.minor, self.patch)

    @property
    def is_prerelease(self) -> bool:
        return bool(self.prerelease)

    @property
    def suffix(self) -> str:
        """The pre-release without its number: ``beta`` for ``v1.4.0-beta.2``."""
        head, _, number = self.prerelease.rpartition(".")
        return head if head and number.isdecimal() else self.prerelease

    @property
    def number(self) -> int | None:
        """The pre-release's number: 2 for ``v1.4.0-beta.2``."""
        head, _, number = self.prerelease.rpartition(".")
        return int(number) if head and number.isdecimal() else None

    def __str__(self) -> str:
        text = f"v{self.major}.{self.minor}.{self.patch}"
        if self.prerelease:
            text = f"{text}-{self.prerelease}"
        return f"{text}+{self.build}" if self.build else text

    def __repr__(self) -> str:
        return f"SemVer({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SemVer) and self.precedence == other.precedence

    def __lt__(self, other: SemVer) -> bool:
        return self.precedence < other.precedence

    def __hash__(self) -> int:
        return hash(self.precedence)


class TagName(NamedTuple):
    """What a tag's name says; ``model`` is None for a bare ``v1.4.0``, ``counter`` 0 where there is none."""

    action: Action
    model: str | None
    version: SemVer | None
    stage: str | None
    counter: int


def parse(tag: str) -> TagName | None:
    """Read a tag's short name; None when it follows another grammar."""
    match = _BARE.fullmatch(tag) if tag.startswith("v") else None
    if match is not None:
        return TagName("register", None, SemVer._of(match), None, 0)
    match = _TAG.fullmatch(tag)
    if match is None:
        return None
    model, stage, core, cancelled, state, written = match.group(
        "model", "stage", "version", "cancel", "state", "counter"
    )
    if "=" in model:
        model = model.replace("=", ":")
    counter = int(written) if written else 0
    if stage:
        return TagName("unassign" if cancelled else "assign", model, None, stage, counter)
    if core:
        return TagName("deregister" if cancelled else "register", model, SemVer._of(match), None, counter)
    return TagName("deprecate" if state == "deprecated" else "create", model, None, None, counter)


def version_tag(model: str, version: SemVer, *, several: bool) -> str:
    """``v1.4.0``, or ``digits@v1.4.0`` in a repository with several models.

    Raises:
        UsageError: the model's name cannot stand in a tag.
    """
    return f"{_in_tag(model)}@{version}" if several else str(version)


def stage_tag(model: str, stage: str, counter: int, *, cancel: bool = False) -> str:
    """``digits#production#3``, or ``digits#production!#4`` to take it back.

    Raises:
        UsageError: the model's or the stage's name cannot stand in a tag.
    """
    if not _STAGE_NAME.fullmatch(stage):
        raise UsageError(
            f"The stage `{stage}` cannot stand in a tag: only letters, digits, `-`, `_` and `/` can."
        )
    return f"{_in_tag(model)}#{stage}{'!' if cancel else ''}#{counter}"


def _in_tag(model: str) -> str:
    if not _MODEL_NAME.fullmatch(model) or "//" in model or ".." in model:
        raise UsageError(
            f"The model's name `{model}` cannot stand in a tag: only letters, digits, `-`, `_` and `/` can, "
            "first and last a letter or digit. Change `model: name:` in the contract."
        )
    return model.replace(":", "=")


_FULL = (1,)


def _precedence(prerelease: str) -> tuple[object, ...]:
    if not prerelease:
        return _FULL  # a release comes after each of its pre-releases
    parts = ((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in prerelease.split("."))
    return (0, tuple(parts))
