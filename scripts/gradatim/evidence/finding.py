"""What verification says: everything that held, and every reason not to believe a release, with a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Problem = Literal[
    "altered file",
    "missing file",
    "extra file",
    "broken manifest",
    "broken record",
    "broken evidence",
    "missing evidence",
    "foreign evidence",
    "refused gate",
    "altered verdict",
    "untold verdict",
    "other release",
    "moved tag",
    "altered tag",
    "unproven tag",
    "unsigned",
    "bad signature",
    "missing signature",
    "unreachable",
]


UNSIGNED = "unsigned"

Answer = Literal["proven", "no gates", "self-consistent", "altered", "refused"]

_NOT_ALTERED: frozenset[Problem] = frozenset(
    {"unproven tag", "refused gate", "untold verdict", "unsigned", "unreachable"}
)
"""Findings that say nothing against the bytes: what would prove or allow them is not there."""


@dataclass(frozen=True)
class Finding:
    """One reason not to believe a release.

    Attributes:
        problem: what kind of reason.
        where: the file, tag, statement or location that it is about.
        text: for a person.
    """

    problem: Problem
    where: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Verification:
    """What came out of verifying a release.

    Attributes:
        name: the model; None where even that could not be read.
        version: its version.
        manifest: hex manifest digest.
        checked: what was compared and held: ``digits.onnx in releases/v1.0.0``.
        signed: whether a signature was there and held, by somebody who is trusted.
        signature: the same in words: ``unsigned``, ``signed by release.pub``, or why that cannot be told here.
        findings: every reason not to believe it.
        notes: what could not be compared, although enough could.
        vouched: who says that this is the release: a tag, or somebody whose signature is trusted; None where nobody does.
        gates: how many gates judged the released form.
    """

    name: str | None
    version: str | None
    manifest: str | None
    checked: tuple[str, ...] = ()
    signed: bool = False
    signature: str = UNSIGNED
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    vouched: str | None = None
    gates: int = 0

    @property
    def answer(self) -> Answer:
        """``proven``: a tag or a trusted signature vouches for every byte, and gates judged them; ``no gates``: none did;
        ``self-consistent``: the files agree with each other, and anybody could have made them so; ``altered``: something
        contradicts it; ``refused``: what would prove or allow it is not there.
        """
        if not self.holds:
            return "refused" if all(f.problem in _NOT_ALTERED for f in self.findings) else "altered"
        if self.vouched is None:
            return "self-consistent"
        return "proven" if self.gates else "no gates"

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against it, and something was compared."""
        return not self.findings and bool(self.checked)
