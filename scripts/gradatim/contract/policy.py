"""The gates of whoever receives a release, in the words of a contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from gradatim.contract.mistakes import told
from gradatim.contract.rules import Misstated, read_rule
from gradatim.contract.schema import GateSection
from gradatim.contract.source import ContractText, parse
from gradatim.contract.values import Section
from gradatim.errors import ContractError, InvalidInput, Problem
from gradatim.gates.rule import Rule
from gradatim.metrics.catalogue import own_metrics

if TYPE_CHECKING:
    from gradatim.gates.grounds import EvaluatedData


class Policy(Section):
    """What a release must have proven for somebody else."""

    gates: dict[str, GateSection] = Field(description="As under `gates:` of a contract.", min_length=1)


def read_policy(path: Path, task: EvaluatedData | None) -> tuple[Rule, ...]:
    """Read and check a policy.

    Args:
        path: a YAML file with the one key ``gates``.
        task: of the release that it is to judge; None of one without evaluated data.

    Raises:
        InvalidInput: the file cannot be read.
        ContractError: with every problem, each at its line and column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}.") from error
    source = parse(text)
    if isinstance(source, Problem):
        raise ContractError(path.name, [source])
    data = source.data
    if not isinstance(data, dict) or data.keys() != {"gates"}:
        text = "a policy has the one key `gates`, with what a release must have proven, as in a contract"
        raise ContractError(path.name, [Problem(text, 1, 1)])
    problems = list(source.problems)
    try:
        policy = Policy.model_validate(data)
    except ValidationError as error:
        raise ContractError(path.name, [*problems, *told(error, source)]) from None
    rules = tuple(_rules(policy, source, task, problems))
    if problems:
        raise ContractError(path.name, problems)
    return rules


def _rules(
    policy: Policy, source: ContractText, task: EvaluatedData | None, problems: list[Problem]
) -> Iterator[Rule]:
    own = task.own if task is not None else {}
    metrics = own_metrics(own, tuple(name for name, higher in own.items() if not higher))
    for key, gate in policy.gates.items():
        line, _ = source.locate(("gates", key), key=True)
        try:
            yield read_rule(key, gate, task.type if task is not None else "", metrics, line)
        except Misstated as error:
            at = ("gates", key, error.field) if error.field else ("gates", key)
            problems.append(Problem(str(error), *source.locate(at, key=error.field is None)))
