"""Rows of prompts, of conversations or of recordings, as the requests that a model is sent which is asked for text."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradatim.data.columns import object_array
from gradatim.data.source import Block, DataSource, missing_column
from gradatim.errors import InvalidInput

WRITTEN, SPOKEN = ("prompt", "messages"), ("audio",)
"""The columns that ask for text, in writing and aloud."""

_ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Asking:
    """How a row becomes a request.

    Attributes:
        column: the input of the model, whose name the requests' column bears.
        settings: sampling settings, and in ``wants`` what is asked for: ``text``, ``choices`` (the likelihood of each), ``target``
            (that of the reference), ``spread`` (what else was likely in place of its tokens).
        shots: pairs of a prompt and its answer that stand before each prompt.
        by: the columns, one of which asks.
    """

    column: str
    settings: Mapping[str, Any]
    shots: tuple[tuple[str, str], ...] = ()
    by: tuple[str, ...] = WRITTEN


class PromptSource:
    """Another source with one column more: each row as a request, a line of JSON. Its references become JSON too.

    Args:
        source: has ``prompt``, text, or ``messages``, a list of ``{role, content}``, or ``audio``, float [samples] or [samples, channels]
            in -1 .. 1, with ``sampling_rate``; perhaps ``choices``, a list of texts.
        label: the column of the references; None where there are none.
        columns: what those are called where they are called otherwise.
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
        named = {key: columns.get(key, key) for key in (*asked.by, "sampling_rate", "choices")}
        self._read = {key: column for key, column in named.items() if column in source.columns}
        found = [key for key in asked.by if key in self._read]
        if not found and asked.by == SPOKEN and "file_name" in source.columns:
            raise InvalidInput(
                f"{source.place} is a table of recordings: name the folder that it lies in as the data."
            )
        if not found:
            raise missing_column(source.place, columns.get(asked.by[0], asked.by[0]), source.columns)
        if len(found) > 1:
            raise InvalidInput(
                f"{source.place} has both `{found[0]}` and `{found[1]}`: which one is asked? Take one out."
            )
        if found == ["audio"] and "sampling_rate" not in self._read:
            raise missing_column(source.place, named["sampling_rate"], source.columns)
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
        said = {key: _python(block[column][row]) for key, column in self._read.items() if key != "audio"}
        where = f"Row {start + row + 1} of {self.place}"
        asked: dict[str, Any] = dict(self._settings)
        if "audio" in self._read:
            asked["audio"] = _sound(block[self._read["audio"]][row], said["sampling_rate"], where)
        elif "messages" in said:
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


def _sound(samples: Any, rate: Any, where: str) -> dict[str, Any]:
    """A recording as it travels: its samples as float32, little-endian, in base64, several channels as their mean."""
    try:
        sound = np.asarray(samples, "<f4")
        sound = sound.mean(axis=1, dtype="<f4") if sound.ndim == 2 else sound
        if sound.ndim != 1 or not sound.size or not np.isfinite(sound).all() or int(rate) < 1:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{where}: `audio` must be the samples of a recording, numbers in -1 .. 1, with their `sampling_rate` in hertz. Files lie in a "
            "folder beside a `metadata.jsonl`, whose `file_name` names them: name that folder as the data."
        ) from error
    return {"samples": base64.b64encode(sound.tobytes()).decode(), "sampling_rate": int(rate)}


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
