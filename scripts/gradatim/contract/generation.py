"""What a contract says of text that is generated: how the model is asked, and how its answers are scored."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from gradatim.contract.endpoint import ServerSection
from gradatim.contract.values import Fraction, Name, Reference, Section, Text, Texts, shorthand
from gradatim.metrics.scorers.table import SCORERS, Scoring, samples_wanted


class Shot(Section):
    """A prompt and its answer that stand before every prompt."""

    prompt: Text = Field(description="What is asked.")
    answer: Text = Field(description="What is answered.")


class GenerationSection(Section):
    """How a language model is asked; the same for candidate and baseline, and part of every digest."""

    max_new_tokens: int = Field(256, ge=1, le=100_000, description="Tokens that an answer may have.")
    temperature: float = Field(
        0.0, ge=0, le=10, description="0 always takes the likeliest token, so that a run can be repeated."
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Draw among the likeliest tokens that have this much of the chance together.",
    )
    top_k: int | None = Field(None, ge=1, description="Draw among so many of the likeliest tokens.")
    seed: int = Field(0, ge=0, description="Seed of what is drawn, apart for each request.")
    samples: int = Field(1, ge=1, le=1000, description="Answers to each prompt; `pass_at_k` needs k or more.")
    stop: Texts = Field((), description="Texts that end an answer, and are no part of it.")
    shots: tuple[Shot, ...] = Field((), description="Examples that stand before every prompt.")
    cut_off: Literal["fail", "score"] = Field(
        "fail",
        description="An answer that was cut off at `max_new_tokens`: `fail` counts it as wrong, `score` takes it as it stands.",
    )

    @model_validator(mode="after")
    def _draws(self) -> GenerationSection:
        if self.temperature == 0 and (self.top_p is not None or self.top_k is not None or self.samples > 1):
            raise ValueError(
                "`top_p`, `top_k` and `samples` mean something when answers are drawn: set `temperature`"
            )
        return self


class ScorerSection(Section):
    """How an answer is scored: a row of the table of scorers, or a function of your own."""

    by: Text | None = Field(
        None, description="Which scorer of the table; the one of its own name when left out."
    )
    function: Reference | None = Field(
        None,
        description="`module:function(references, answers)`: gives a number, or True or False, for each answer. References are "
        "as the data have them.",
    )
    regex: Text | None = Field(
        None, description="`regex_match`: what to look for; its first group counts, else all of it."
    )
    take: Literal["first", "last"] | None = Field(
        None, description="`regex_match`: which of several matches counts."
    )
    words: Texts = Field(
        (), description="`contains` and `not_contains`: these texts in place of the references."
    )
    json_schema: dict[str, Any] | None = Field(
        None, description="`json_valid`: the JSON schema that an answer must be of."
    )

    @field_validator("regex")
    @classmethod
    def _compiles(cls, regex: str | None) -> str | None:
        try:
            re.compile(regex or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return regex

    def scoring(self, name: str, *, higher_is_better: bool = True) -> Scoring:
        """What it means under its name; an own function is still to be loaded.

        Raises:
            ValueError: there is no such scorer, or it does not know a setting, or lacks one.
        """
        said = {
            "regex": self.regex,
            "take": self.take,
            "words": self.words,
            "json_schema": self.json_schema,
        }
        settings = {key: value for key, value in said.items() if value}
        if self.function is not None:
            if self.by or settings:
                raise ValueError(f"`{name}` is scored by `function`: it takes nothing else")
            return Scoring(name, None, higher_is_better=higher_is_better)
        by = self.by or name
        if by not in SCORERS:
            wanted = "say `by` or `function`" if samples_wanted(name) else f"known: {', '.join(SCORERS)}"
            raise ValueError(f"there is no scorer `{by[:80]}`; {wanted}")
        kind = SCORERS[by]
        for key in settings:
            if key not in kind.takes:
                raise ValueError(f"`{by}` does not take `{key}`")
        for key in kind.needs:
            if key not in settings:
                raise ValueError(f"`{by}` needs `{key}`")
        if samples_wanted(name) and (kind.shape, kind.reads) != ("decision", "text"):
            raise ValueError(
                f"`{name}` counts answers that are right, and `{by}` does not say that of a text"
            )
        return Scoring(name, kind, settings)


class PeopleSection(Section):
    """Pairs of answers that people judged, which the judge is held against."""

    path: Text = Field(
        description="A .jsonl file: `prompt` or `messages`, the answers `first` and `second`, and whom people preferred."
    )
    label: Text = Field("preferred", description="Column of what they preferred: `first`, `second` or `tie`.")
    kappa: Fraction = Field(
        0.4,
        description="Cohen's kappa with them that must be proven, or the judge proves nothing; 0.4 is called moderate, 0.6 substantial.",
    )


class JudgeSection(Section):
    """Who says which of two answers to a prompt is the better one: a server and a rubric, or a function of your own."""

    endpoint: Annotated[ServerSection, shorthand("url", ServerSection)] | None = Field(
        None, description="A language model that judges, asked by OpenAI's API."
    )
    rubric: Text | None = Field(
        None, description="What makes an answer better, in words that the model of `endpoint` is told."
    )
    max_new_tokens: int = Field(
        1024,
        ge=1,
        le=100_000,
        description="Tokens that the model of `endpoint` has for its reasons and verdict.",
    )
    function: Reference | None = Field(
        None,
        description="`module:function(questions, first, second)`: gives `first`, `second` or `tie` for each, None where it cannot tell. "
        "A question has `prompt` or `messages`, and `references` where the data have them.",
    )
    human: Annotated[PeopleSection, shorthand("path", PeopleSection)] | None = Field(
        None, description="Pairs that people judged: below its `kappa` with them the judge proves nothing."
    )

    @model_validator(mode="after")
    def _is_somebody(self) -> JudgeSection:
        if (self.endpoint is None) == (self.function is None):
            raise ValueError("a judge is an `endpoint` with a `rubric`, or a `function`: one of the two")
        if (self.endpoint is None) != (self.rubric is None):
            raise ValueError(
                "`rubric` says what makes an answer better to the model of `endpoint`: it goes with it, and only with it"
            )
        return self

    def implies(self, other: JudgeSection) -> bool:
        """Whether the other would bear out whatever this one does: the same judge, held against the same people, as strictly or more."""
        mine, theirs = (
            (said.function, said.rubric, said.endpoint and (said.endpoint.url, said.endpoint.model))
            for said in (self, other)
        )
        if mine != theirs or other.human is None:
            return mine == theirs
        people = self.human
        if people is None or (people.path, people.label) != (other.human.path, other.human.label):
            return False
        return people.kappa >= other.human.kappa


def _by_name(written: Any) -> Any:
    """``scorers: [bleu, chrf]`` for ``scorers: {bleu: {}, chrf: {}}``."""
    if isinstance(written, str):
        written = [written]
    if isinstance(written, list | tuple) and all(isinstance(one, str) for one in written):
        return {one: {} for one in written}
    return (
        {name: {} if said is None else said for name, said in written.items()}
        if isinstance(written, dict)
        else written
    )


def _known(scorers: dict[str, ScorerSection]) -> dict[str, ScorerSection]:
    for name, one in scorers.items():
        one.scoring(name)  # refuses what it does not know
    return scorers


Scorers = Annotated[
    dict[Name, Annotated[ScorerSection, shorthand("function", ScorerSection)]],
    AfterValidator(_known),
    BeforeValidator(_by_name, json_schema_input_type=str | list[str] | dict[str, Any]),
]
