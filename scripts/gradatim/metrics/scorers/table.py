"""Every way to score an answer, by name. Light: importing this needs no numpy."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gradatim.metrics.catalogue import Metric

Reads = Literal["text", "choices", "target"]
"""What of an answer it looks at: the text; the log-likelihood of each choice; that of the reference."""

Shape = Literal["decision", "share", "ratio", "sums"]
"""What it gives for a row: right or wrong; a number from 0 to 1; two numbers whose sums are divided; sums of which the
metric is a function."""


@dataclass(frozen=True)
class ScorerKind:
    """A way to score an answer.

    Attributes:
        name: as the contract spells it.
        description: one line for a person.
        by: ``module:function`` below ``gradatim.metrics.scorers``: (answer, references, **settings) of a text, (choices,
            lengths, right) of log-likelihoods, (nats, bytes) of a reference.
        shape: what that function gives.
        reads: what of the answer it is given.
        takes: settings of the contract that it knows; those of ``needs`` it cannot do without.
        package: what it imports, which the extra `text` brings.
        statistic: for ``sums``: a function beside it, sums [draws, k] -> [draws].
        blank: whether an empty reference is its own business: an answer can be nothing, too.
    """

    name: str
    description: str
    by: str
    shape: Shape = "decision"
    reads: Reads = "text"
    higher_is_better: bool = True
    unit: str = "1"
    fraction: bool = True
    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    package: str | None = None
    statistic: str | None = None
    blank: bool = False

    @property
    def width(self) -> int:
        """Numbers that it gives for a row."""
        return {"decision": 1, "share": 1, "ratio": 2, "sums": 10}[self.shape]


_ROWS = (
    ScorerKind("exact_match", "share of answers that are a reference, letter by letter", "matching:exact", blank=True),
    ScorerKind(
        "normalised_match",
        "share of answers that are a reference but for case, punctuation, articles and spaces",
        "matching:normalised",
        blank=True,
    ),
    ScorerKind(
        "regex_match",
        "share of answers whose part that a regular expression finds is a reference",
        "matching:extracted",
        takes=("regex", "take"),
        needs=("regex",),
        blank=True,
    ),
    ScorerKind(
        "contains", "share of answers in which a reference stands", "matching:contains", takes=("words",)
    ),
    ScorerKind(
        "not_contains",
        "share of answers in which no reference stands",
        "matching:not_contains",
        takes=("words",),
    ),
    ScorerKind(
        "json_valid", "share of answers that are JSON of the schema", "structured:json_valid", takes=("json_schema",),
    ),
    ScorerKind(
        "acc", "share of questions whose right choice is the likeliest", "choosing:likeliest", reads="choices"
    ),
    ScorerKind(
        "acc_norm",
        "share of questions whose right choice is the likeliest by letter",
        "choosing:likeliest_by_letter",
        reads="choices",
    ),
    ScorerKind(
        "bleu", "BLEU of all answers together", "overlap:bleu", "sums", package="sacrebleu",
        statistic="overlap:bleu_of",
    ),
    ScorerKind("chrf", "mean chrF of an answer", "overlap:chrf", "share", package="sacrebleu"),
    ScorerKind("rouge1", "mean ROUGE-1 (F) of an answer", "overlap:rouge1", "share", package="rouge_score"),
    ScorerKind("rouge2", "mean ROUGE-2 (F) of an answer", "overlap:rouge2", "share", package="rouge_score"),
    ScorerKind("rougeL", "mean ROUGE-L (F) of an answer", "overlap:rouge_l", "share", package="rouge_score"),
    ScorerKind(
        "wer", "wrong, lacking and superfluous words by word of the reference", "hearing:words", "ratio",
        higher_is_better=False, package="jiwer", blank=True,
    ),
    ScorerKind(
        "cer", "wrong, lacking and superfluous letters by letter of the reference", "hearing:letters", "ratio",
        higher_is_better=False, package="jiwer", blank=True,
    ),
    ScorerKind(
        "bits_per_byte", "bits that a byte of the reference costs", "choosing:bits", "ratio", reads="target",
        higher_is_better=False, unit="bit", fraction=False,
    ),
    ScorerKind(
        "imported", "a score from 0 to 1 that another harness gave", "matching:exact", "share", blank=True,
    ),
)  # fmt: skip

SCORERS: Mapping[str, ScorerKind] = {row.name: row for row in _ROWS}
"""Name -> its row."""

_PASS_AT = re.compile(r"pass_at_([1-9]\d{0,3})")


def samples_wanted(name: str) -> int | None:
    """The k of ``pass_at_k``; None for any other name."""
    found = _PASS_AT.fullmatch(name)
    return int(found[1]) if found else None


@dataclass(frozen=True)
class Scoring:
    """A scorer of a contract.

    Attributes:
        name: the metric's name.
        kind: the row of the table; None for the user's own.
        settings: what the contract says to the row's function.
        own: the user's ``function(references, answers)`` that gives a number, or True or False, for each of them.
        higher_is_better: the direction of an own one.
    """

    name: str
    kind: ScorerKind | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    own: Callable[[Any, Any], Any] | None = None
    higher_is_better: bool = True

    @property
    def reads(self) -> Reads:
        return self.kind.reads if self.kind else "text"

    @property
    def needs_references(self) -> bool:
        """Whether it holds an answer against what the data say."""
        alone = self.kind is None or "json_schema" in self.kind.takes
        return not (alone or self.settings.get("words"))

    @property
    def k(self) -> int | None:
        """Of ``pass_at_k``."""
        return samples_wanted(self.name)

    @property
    def metric(self) -> Metric:
        """What its name means to a gate."""
        if self.k is not None:
            return Metric(self.name, f"chance that one of {self.k} answers to a problem is right", True)
        if self.kind is None:
            return Metric(
                self.name, "own scorer, mean over the answers", self.higher_is_better, fraction=False
            )
        return Metric(
            self.name, self.kind.description, self.kind.higher_is_better, unit=self.kind.unit, fraction=self.kind.fraction, counted=self.kind.shape == "decision"
        )  # fmt: skip


def function_of(reference: str) -> Callable[..., Any]:
    """What a row names as ``module:function``."""
    module, _, name = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"gradatim.metrics.scorers.{module}"), name)
    return found
