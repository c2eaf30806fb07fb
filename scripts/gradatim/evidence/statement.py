"""Evidence: an in-toto Statement v1 [1]_ for each step, bound by digest to what it speaks of.

.. [1] https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.codec import decode, encode
from gradatim.evidence.manifest import strict_json
from gradatim.files import canonical_json
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:gradatim:evidence:v1"
MADE_FROM = "candidate"
"""The input that names what a step's subjects were made from: it leads from a variant back to the build."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")
_PREDICATE = frozenset(
    ("step", "gradatim", "inputs", "measurements", "gates", "verdict", "environment", "details")
)


@dataclass(frozen=True)
class _Told:
    """What evidence tells of itself, whichever step's it is."""

    summary: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    made: str | None = None


@dataclass(frozen=True)
class Statement:
    """What one step found out, and about which bytes.

    Attributes:
        step: ``evaluate``, ``gate``, ...
        subjects: hex manifest digest by variant (``fp32``, ``int8-static``): what the statement speaks of.
        verdict: what the step decided.
        gradatim: version of the kit that made it.
        inputs: hex digest by name of everything that the step looked at: ``evaluation``, ``contract``,
            ``code``, ``baseline``; ``candidate`` is what the subjects were made from.
        measurements: what was measured.
        gates: what the gates said.
        environment: machine, packages, commit, CI job.
        details: JSON: what the step found (``evidence.found``), and what every step tells of itself, below.
    """

    step: str
    subjects: Mapping[str, str]
    verdict: Verdict
    gradatim: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    gates: tuple[GateResult, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What the step found, in one line; empty where it says nothing."""
        return self.read(_Told).summary

    @property
    def outputs(self) -> Mapping[str, str]:
        """The files that the step left: hex SHA-256 by path in the workspace."""
        return self.read(_Told).outputs

    @property
    def seconds(self) -> float | None:
        """How long the step took."""
        return self.read(_Told).seconds

    @property
    def made(self) -> str | None:
        """When it was made: UTC, to the second. It decides nothing but expiry."""
        return self.read(_Told).made

    def read(self, kind: type[T]) -> T:
        """A part of the details as a dataclass.

        Raises:
            BrokenEvidence: a key is missing or holds another type; names the step and the key.
        """
        try:
            return decode(kind, self.details, "details", newer=True)
        except BrokenEvidence as error:
            raise BrokenEvidence(
                f"The evidence of `{self.step}` that gradatim {self.gradatim} wrote is broken: {error}"
            ) from error

    def variant(self, manifest: str) -> str | None:
        """Under which name the statement speaks of a manifest digest; None when it does not."""
        return next((name for name, digest in self.subjects.items() if digest == manifest), None)

    def to_json(self) -> dict[str, Any]:
        """The statement in in-toto's form."""
        subjects = [
            {"name": name, "digest": {"sha256": digest}} for name, digest in sorted(self.subjects.items())
        ]
        return {
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "step": self.step,
                "gradatim": self.gradatim,
                "inputs": dict(self.inputs),
                "measurements": [encode(measurement) for measurement in self.measurements],
                "gates": [encode(gate) for gate in self.gates],
                "verdict": self.verdict.value,
                "environment": dict(self.environment),
                "details": dict(self.details),
            },
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON, one line.

        Raises:
            InvalidInput: the environment or the details hold NaN or something that is no JSON.
        """
        try:
            return canonical_json(self.to_json())
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"The evidence of {self.step} cannot be written as JSON: {error}.") from error

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Statement:
        """Read a statement strictly; ``name`` says where it came from.

        Raises:
            BrokenEvidence: a duplicate key, NaN, an unknown or missing field, a wrong kind of value.
        """
        record = strict_json(data, name)
        _fields(record, {"_type", "subject", "predicateType", "predicate"}, name)
        if record["_type"] != STATEMENT_TYPE or record["predicateType"] != PREDICATE_TYPE:
            raise BrokenEvidence(
                f"{name} is evidence of another kind: {record['_type']!r}, {record['predicateType']!r}."
            )
        _fields(record["predicate"], _PREDICATE, name)
        statement = decode(cls, {**record["predicate"], "subjects": _subjects(record["subject"], name)}, name)
        for key, digest in (*statement.subjects.items(), *statement.inputs.items()):
            if not _SHA256.fullmatch(digest):
                raise BrokenEvidence(f"{name} is broken: `{key}` has no proper SHA-256.")
        return statement


@dataclass(frozen=True)
class Bundle:
    """All statements of a release as one file: canonical JSON Lines, sorted: the same on every run."""

    statements: tuple[Statement, ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.statements, key=lambda s: (s.step, s.to_bytes())))
        object.__setattr__(self, "statements", ordered)

    def to_bytes(self) -> bytes:
        """The file ``evidence.intoto.jsonl``."""
        return b"".join(statement.to_bytes() + b"\n" for statement in self.statements)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "evidence.intoto.jsonl") -> Bundle:
        """Read a bundle strictly.

        Raises:
            BrokenEvidence: a line is not a statement.
        """
        if data and not data.endswith(b"\n"):
            raise BrokenEvidence(f"{name} is broken: its last line is cut off.")
        lines = data.split(b"\n")[:-1]
        return cls(tuple(Statement.from_bytes(line, f"{name}:{n}") for n, line in enumerate(lines, 1)))

    def of(self, step: str) -> tuple[Statement, ...]:
        """The statements of one step."""
        return tuple(statement for statement in self.statements if statement.step == step)

    def gates(self, variant: str) -> int:
        """How many gates of the contract judged a variant."""
        return sum(gate.variant == variant for statement in self.of("gate") for gate in statement.gates)

    def linked(self, manifest: str) -> tuple[frozenset[str], tuple[Statement, ...]]:
        """What a manifest digest was made from, and the statements that speak of none of it.

        A statement belongs to a release when the release is one of its subjects, or when it speaks of what
        the release was made from: the build's file that ``compress`` turned into the released variant.

        Returns:
            the digests of the release and of its ancestors, and the foreign statements.
        """
        known = {manifest}
        while True:
            made_from = {
                statement.inputs[MADE_FROM]
                for statement in self.statements
                if MADE_FROM in statement.inputs and known & set(statement.subjects.values())
            }
            if made_from <= known:
                break
            known |= made_from
        foreign = tuple(s for s in self.statements if not known & set(s.subjects.values()))
        return frozenset(known), foreign


def _fields(record: Any, wanted: Iterable[str], name: str) -> None:
    if not isinstance(record, dict):
        raise BrokenEvidence(f"{name} is broken: it is not a JSON object.")
    wanted = set(wanted)
    if unknown := record.keys() - wanted:
        raise BrokenEvidence(f"{name} is broken: unknown fields {', '.join(sorted(unknown))}.")
    if missing := wanted - record.keys():
        raise BrokenEvidence(f"{name} is broken: it lacks {', '.join(sorted(missing))}.")


def _subjects(record: Any, name: str) -> dict[str, Any]:
    subjects: dict[str, Any] = {}
    for subject in record if isinstance(record, list) else ():
        _fields(subject, {"name", "digest"}, name)
        _fields(subject["digest"], {"sha256"}, name)
        if not isinstance(subject["name"], str) or subject["name"] in subjects:
            raise BrokenEvidence(f"{name} is broken: its subjects need a name each, no two the same.")
        subjects[subject["name"]] = subject["digest"]["sha256"]
    if not subjects:
        raise BrokenEvidence(f"{name} speaks of nothing: it has no subject.")
    return subjects
