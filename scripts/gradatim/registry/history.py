"""What a repository's tags say: every version, every stage, in the order that they were made.

The order is that of counters, then of versions: clocks of laptops and CI machines disagree, so no date decides anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from gradatim.errors import BrokenEvidence, UsageError
from gradatim.registry import tags
from gradatim.registry.tags import SemVer

LEDGER = "refs/gradatim/releases/"
"""Below it, one reference per manifest digest holds the evidence of a release."""

_TRAILER = re.compile(r"^([a-z][a-z-]*): (.*)$", re.MULTILINE)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Release:
    """One version of one model, as its tag says.

    Attributes:
        model: name of the model; None only for a bare ``v1.0.0`` in a repository that names no model.
        version: its number.
        tag: short name of the tag.
        tag_id: id of the tag's own object; the commit's id for a lightweight tag.
        commit: id of the commit that the tag marks.
        date: when it was tagged, seconds since 1970, for people to read; it decides nothing.
        author: name of whoever tagged it; empty for a lightweight tag.
        annotated: False for a lightweight tag.
        active: False once the version was withdrawn (``digits@v1.0.0!``).
        message: the tag's message; empty for a lightweight tag.
    """

    model: str | None
    version: SemVer
    tag: str
    tag_id: str
    commit: str
    date: int
    author: str = ""
    annotated: bool = True
    active: bool = True
    message: str = ""

    def __str__(self) -> str:
        return str(self.version)

    @cached_property
    def trailers(self) -> Mapping[str, str]:
        """Every ``key: value`` line at the end of the tag's message."""
        return trailers(self.message)

    @property
    def manifest(self) -> str | None:
        """Hex SHA-256 of its manifest; None when the tag was not written by gradatim."""
        return _digest(self.trailers.get("manifest"))

    @property
    def record(self) -> str | None:
        """Hex SHA-256 of its ``release.json``."""
        return _digest(self.trailers.get("release"))

    @property
    def stage(self) -> str | None:
        """The stage that it was released to."""
        return self.trailers.get("stage")

    @property
    def signature(self) -> str | None:
        """Hex SHA-256 of the release's signature, which is not checked here; None for an unsigned release."""
        return _digest(self.trailers.get("signature"))

    @property
    def git_signed(self) -> bool:
        """Whether git itself signed the tag (``tag.gpgSign``), which is not checked here."""
        return "\n-----BEGIN " in self.message


@dataclass(frozen=True)
class Assignment:
    """A stage given to a commit, or taken from it.

    Attributes:
        stage: ``production``.
        counter: its place in the model's own order; 0 for a tag without one, which comes first.
        assigned: False for ``digits#production!#4``, which takes the stage back.
        release: the version that was meant; None when the commit bears no version.
        message: the tag's message.
        contradiction: in words, where the tag says one thing and marks another: somebody moved it.
    """

    model: str
    stage: str
    counter: int
    assigned: bool
    commit: str
    release: Release | None
    tag: str
    date: int
    author: str
    message: str = ""
    contradiction: str | None = None

    @cached_property
    def trailers(self) -> Mapping[str, str]:
        """Every ``key: value`` line at the end of the message: ``reason``, ``approval``, ``previous``."""
        return trailers(self.message)

    @property
    def label(self) -> str:
        """``v1.4.0``, or ``unregistered commit 9f2c41d`` where the commit bears no version."""
        return str(self.release) if self.release else f"unregistered commit {self.commit[:7]}"


@dataclass(frozen=True)
class ModelHistory:
    """All that is known about one model.

    Attributes:
        name: None where a repository with bare tags names no model.
        releases: every version, withdrawn ones included, lowest first.
        assignments: every stage given or taken, in order.
        deprecated: whether the model as a whole was given up.
    """

    name: str | None
    releases: tuple[Release, ...]
    assignments: tuple[Assignment, ...]
    deprecated: bool = False

    @property
    def latest(self) -> Release | None:
        """The highest version that is no pre-release and was not withdrawn."""
        return next((r for r in reversed(self.releases) if r.active and not r.version.is_prerelease), None)

    @property
    def newest(self) -> Release | None:
        """The highest version that was not withdrawn, pre-releases included."""
        return next((r for r in reversed(self.releases) if r.active), None)

    @property
    def stages(self) -> tuple[str, ...]:
        """Every stage that was ever assigned, sorted by name."""
        return tuple(sorted({a.stage for a in self.assignments}))

    def release(self, version: str | SemVer) -> Release:
        """One version.

        Raises:
            UsageError: there is none of that number.
        """
        wanted = SemVer.parse(version) if isinstance(version, str) else version
        for release in self.releases:
            if release.version == wanted:
                return release
        known = ", ".join(str(r) for r in self.releases[-5:]) or "none yet"
        raise UsageError(
            f"There is no version {wanted} of {self.name or 'this model'}. Known (newest last): {known}."
        )

    def held(self, stage: str) -> tuple[Assignment, ...]:
        """Every version that was given a stage and not taken from it again, the current one last.

        The current one is that of the highest counter, as gto would show it if clocks could be trusted.
        """
        latest: dict[str, Assignment] = {}
        for assignment in self.assignments:
            if assignment.stage == stage:
                key = (
                    assignment.release.tag if assignment.release else assignment.commit
                )  # a tag is no commit's id
                latest.pop(key, None)
                if assignment.assigned:
                    latest[key] = assignment
        return tuple(held for held in latest.values() if held.release is None or held.release.active)

    def before(self, stage: str) -> Release | None:
        """The last good release of a stage: what its holder replaced, never what was rolled back from.

        A version assigned a second time is a return to it: what came in between is no longer good.
        """
        good: list[Release] = []
        for assignment in self.assignments:
            if assignment.stage != stage or assignment.release is None:
                continue
            if assignment.release in good:
                del good[good.index(assignment.release) :]
            if assignment.assigned:
                good.append(assignment.release)
        holder = self.holder(stage)
        current = holder.release if holder else None
        return next((release for release in reversed(good) if release.active and release != current), None)

    def rolled_back(self, stage: str) -> tuple[Assignment, Assignment] | None:
        """What a rollback took a stage from and what it gave it to; None where anything else was done to it last."""
        taken, given = ([None, None] + [a for a in self.assignments if a.stage == stage])[-2:]
        if taken is None or given is None or taken.assigned or not given.assigned:
            return None
        return (taken, given) if given.trailers.get("previous") == taken.label else None

    def holder(self, stage: str) -> Assignment | None:
        """What a stage holds now; None when it holds nothing."""
        held = self.held(stage)
        return held[-1] if held else None

    def refuse_contradictions(self, moved: Collection[str] = ()) -> None:
        """Nothing may rest on stages that a moved tag misstates.

        Args:
            moved: tags that name something else on the remote than here.

        Raises:
            BrokenEvidence: a stage's tag says one thing and marks another, or was moved on the remote.
        """
        for assignment in self.assignments:
            said = assignment.contradiction
            if said is None and assignment.tag in moved:
                said = (
                    f"The tag {assignment.tag} on the remote is not the one that is here: somebody moved it."
                )
            if said is not None:
                raise BrokenEvidence(
                    f"{said} Tags are never moved. Find out who did and which one is right, then put it back in the remote."
                )

    @property
    def next_counter(self) -> int:
        """The counter of the next assignment: one sequence for all stages, as gto has it."""
        return 1 + max((assignment.counter for assignment in self.assignments), default=0)


@dataclass(frozen=True)
class Registry:
    """Everything that the tags of a repository say.

    Attributes:
        models: by name; the key is ``""`` for bare tags in a repository that names no model.
        ledgers: hex manifest digests whose evidence is here.
        warnings: one sentence for each tag that does not count, and why.
        other_tags: tags of another grammar.
        complete: False for a shallow clone: what is not seen may still exist.
    """

    models: Mapping[str, ModelHistory]
    ledgers: frozenset[str]
    warnings: tuple[str, ...]
    other_tags: tuple[str, ...]
    complete: bool

    def model(self, name: str | None = None) -> ModelHistory:
        """One model; without a name, the only one.

        A model that the contract names and that has no tags yet is an empty one.

        Raises:
            UsageError: there are several and none was named.
        """
        if name is not None:
            return self.models.get(name, ModelHistory(name, (), ()))
        if len(self.models) == 1:
            return next(iter(self.models.values()))
        if not self.models:
            return ModelHistory(None, (), ())
        names = ", ".join(sorted(key for key in self.models if key))
        raise UsageError(f"This repository has several models: {names}. Name one: `name@v1.0.0`.")

    def find(self, text: str, model: str | None = None) -> Release:
        """The release that a person means.

        Args:
            text: ``v1.4.0``, ``1.4.0``, ``digits@v1.4.0``, ``latest``, ``digits@latest``, ``production``
                or ``digits#production``.
            model: the model meant when the text names none.

        Raises:
            UsageError: nothing of that name, or the stage holds nothing or an unregistered commit.
        """
        name, separator, rest = text.partition("#" if "#" in text else "@")
        if separator:
            if name not in self.models and name != model:
                known = ", ".join(sorted(key for key in self.models if key)) or "none"
                raise UsageError(f"There is no model `{name}` in this repository. Known: {known}.")
            model = name
        else:
            rest = text
        found = self.model(model)
        if rest == "latest":
            if found.latest is None:
                raise UsageError(
                    "Nothing was released yet: there is no latest version (pre-releases do not count)."
                )
            return found.latest
        if tags.parse(rest if rest.startswith("v") else f"v{rest}") is not None:
            return found.release(rest)
        if rest not in found.stages:
            known = ", ".join(("latest", *found.stages))
            raise UsageError(
                f"`{text}` is neither a version nor a stage here. Known besides versions: {known}."
            )
        holder = found.holder(rest)
        if holder is None:
            raise UsageError(f"The stage {rest} holds nothing now.")
        found.refuse_contradictions()
        if holder.release is None:
            raise UsageError(
                f"The stage {rest} holds an {holder.label}: tag that commit with a version first."
            )
        return holder.release

    def with_manifest(self, digest: str, model: str | None = None) -> list[Release]:
        """Every active release of exactly these bytes, lowest version first."""
        return [r for r in self.model(model).releases if r.manifest == digest and r.active]


def trailers(message: str) -> dict[str, str]:
    """The ``key: value`` lines in the last paragraph of a message, before any signature."""
    text = message.partition("-----BEGIN ")[0].rstrip()
    return dict(_TRAILER.findall(text.rpartition("\n\n")[2]))


def _digest(text: str | None) -> str | None:
    match = _DIGEST.fullmatch(text or "")
    return match[1] if match else None


def date_of_next_assignment(model: ModelHistory, now: int) -> int:
    """A date for the next assignment that is later than every earlier one's, whatever the clocks say.

    gto orders by date: this keeps it in agreement with the counters. ``SOURCE_DATE_EPOCH`` sets the clock.
    """
    clock = int(os.environ.get("SOURCE_DATE_EPOCH", now))
    return max(clock, 1 + max((assignment.date for assignment in model.assignments), default=0))
