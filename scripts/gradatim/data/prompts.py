"""Rows of prompts, or of conversations, as the requests that a language model is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradatim.data.columns import object_array
from gradatim.data.source import Block, DataSource, missing_column
from gradatim.errors import InvalidInput

_ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Asking:
    """How a row becomes a request.

    Attributes:
        column: the input of the model, whose name the requests' column bears.
        settings: sampling settings, and in ``wants`` what is asked for: ``text``, ``choices`` (the likelihood of each), ``target``
            (that of the reference), ``spread`` (what else was likely in place of its tokens).
        shots: pairs of a prompt and its answer that stand before each prompt.
    """

    column: str
    settings: Mapping[str, Any]
    shots: tuple[tuple[str, str], ...] = ()


class PromptSource:
    """Another source with one column more: each row as a request, a line of JSON. Its references become JSON too.

    Args:
        source: has ``prompt``, text, or ``messages``, a list of ``{role, content}``; perhaps ``choices``, a list of texts.
        label: the column of the references; None where there are none.
        columns: what those three are called where they are called otherwise.
        asked: what every request says besides.

    Raises:
        InvalidInput: the source has no prompts.
    """

    exact = False
    textual = False
    tabular = True

    def __init__(
        self,
        source: DataSource,
        label: str | None,
        columns: Mapping[str, str],
        asked: Asking,
    ) -> None:
        self.place = source.place
        self._source, self._label, self._column = source, label, asked.column
        self.inputs: tuple[str, ...] = (asked.column,)
        self._settings, self._shots = asked.settings, asked.shots
        for column in columns.values():
            if column not in source.columns:
                raise missing_column(source.place, column, source.columns)
        named = {key: columns.get(key, key) for key in ("messages", "prompt", "choices")}
        self._read = {key: column for key, column in named.items() if column in source.columns}
        if not {"messages", "prompt"} & self._read.keys():
            raise missing_column(source.place, columns.get("prompt", "prompt"), source.columns)
        if {"messages", "prompt"} <= self._read.keys():
            raise InvalidInput(
                f"{source.place} has both `prompt` and `messages`: which one is asked? Take one out."
            )
        self.columns = (*source.columns, self._column)

    def length(self, column: str) -> int:
        return self._source.length(next(iter(self._read.values())) if column == self._column else column)

    def is_empty(self) -> bool:
        return self._source.is_empty()

    def blocks(self, columns: Sequence[str], size: int) -> Iterator[Block]:
        needed = [*columns, *(self._read.values() if self._column in columns else ())]
        needed += [self._label] if self._column in columns and self._label else []
        start = 0
        for block in self._source.blocks(
            [name for name in dict.fromkeys(needed) if name != self._column], size
        ):
            made = {name: self._plain(block[name], name) for name in columns if name != self._column}
            if self._column in columns:
                rows = len(next(iter(block.values())))
                made[self._column] = object_array(self._request(block, row, start) for row in range(rows))
                start += rows
            yield made

    def _plain(self, values: Any, name: str) -> Any:
        if name != self._label:
            return values
        return object_array(
            "" if value is None else json.dumps(_python(value), sort_keys=True) for value in values
        )

    def _request(self, block: Block, row: int, start: int) -> str:
        said = {key: _python(block[column][row]) for key, column in self._read.items()}
        where = f"Row {start + row + 1} of {self.place}"
        asked: dict[str, Any] = dict(self._settings)
        if "messages" in said:
            asked["messages"] = [*self._turns(), *_messages(said["messages"], where)]
        else:
            if not isinstance(said["prompt"], str):
                raise InvalidInput(f"{where}: `{self._read['prompt']}` is no text, and it is the prompt.")
            asked["prompt"] = "".join(f"{one}{other}\n\n" for one, other in self._shots) + said["prompt"]
        if (choices := said.get("choices")) is not None:
            if (
                not isinstance(choices, list)
                or len(choices) < 2
                or not all(isinstance(c, str) for c in choices)
            ):
                raise InvalidInput(f"{where}: `{self._read['choices']}` must be a list of two texts or more.")
            asked["choices"] = choices
        if {"target", "spread"} & set(self._settings.get("wants", ())) and self._label:
            value = _python(block[self._label][row])
            asked["target"] = value[0] if isinstance(value, list) and value else value
            if not isinstance(asked["target"], str) or not asked["target"]:
                raise InvalidInput(f"{where}: `{self._label}` must be a text, whose likelihood is measured.")
        return json.dumps(asked, sort_keys=True)

    def _turns(self) -> list[dict[str, str]]:
        pairs = ((("user", one), ("assistant", other)) for one, other in self._shots)
        return [{"role": role, "content": text} for pair in pairs for role, text in pair]


def _python(value: Any) -> Any:
    """What numpy and parquet hold, as plain Python."""
    if isinstance(value, np.ndarray | np.generic):
        return _python(value.tolist())
    return value


def _messages(said: Any, where: str) -> list[dict[str, str]]:
    good = (
        isinstance(said, list)
        and said
        and all(
            isinstance(turn, dict) and turn.get("role") in _ROLES and isinstance(turn.get("content"), str)
            for turn in said
        )
    )
    if not good:
        raise InvalidInput(
            f'{where}: `messages` must be a list of turns such as {{"role": "user", "content": "..."}}, the role one of '
            f"{', '.join(_ROLES)}."
        )
    return list(said)
