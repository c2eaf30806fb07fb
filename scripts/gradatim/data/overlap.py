"""Evaluation rows whose words also stand in given training text: runs of 8 and of 13 words, found in one pass over it.

Runs of 13 words are what Brown et al. (2020), "Language models are few-shot learners", appendix C, count as contamination; of 8 is the
stricter form that Chowdhery et al. (2022), "PaLM", use. Memory grows with the evaluation data alone.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gradatim.data.columns import object_array
from gradatim.data.source import Block, DataSource, lines_of
from gradatim.errors import InvalidInput
from gradatim.files import list_files

OVERLAP = "training_overlap"
"""The column that says of each row how long a run of its words the training text holds: ``none``, ``8 words``, ``13 words``; ``too
short`` where no text of it has 8 words, so that nothing can be told."""

SHORT, LONG = 8, 13
_WORD = re.compile(r"\w+")
_PIECE = 1 << 16


class OverlapSource:
    """Another source with one column more, which is ``OVERLAP``.

    Args:
        training: files and folders of text; of ``.jsonl`` each line's texts, anything may be packed as ``.gz``.

    Raises:
        InvalidInput: a file is not there.
    """

    def __init__(self, source: DataSource, training: Sequence[Path]) -> None:
        self._source, self._files = source, tuple(_files(training))
        self.place, self.inputs = source.place, source.inputs
        self.exact, self.textual, self.tabular = source.exact, source.textual, source.tabular
        self.columns = (*source.columns, OVERLAP)

    def length(self, column: str) -> int:
        return self._source.length(self._source.columns[0] if column == OVERLAP else column)

    def is_empty(self) -> bool:
        return self._source.is_empty()

    def blocks(self, columns: Sequence[str], size: int) -> Iterator[Block]:
        if OVERLAP not in columns:
            yield from self._source.blocks(columns, size)
            return
        start, found = 0, self._found()
        kept = [name for name in columns if name != OVERLAP] or [self._source.columns[0]]
        for block in self._source.blocks(kept, size):
            rows = len(next(iter(block.values())))
            yield {**block, OVERLAP: object_array(found[start : start + rows])}
            start += rows

    def _found(self) -> tuple[str, ...]:
        rows = []
        for block in self._source.blocks(self._source.columns, 256):
            columns = list(block.values())
            rows += [tuple(_texts([column[row] for column in columns])) for row in range(len(columns[0]))]
        return _overlaps(tuple(rows), tuple((path, path.stat().st_mtime_ns) for path in self._files))


def _files(training: Sequence[Path]) -> Iterator[Path]:
    for path in training:
        if not path.exists():
            raise InvalidInput(f"There is no training text at {path}. Correct `data.training`.")
        yield from [path / name for name in list_files(path)] if path.is_dir() else [path]


@lru_cache(maxsize=4)
def _overlaps(rows: tuple[tuple[str, ...], ...], files: tuple[tuple[Path, int], ...]) -> tuple[str, ...]:
    """What ``OVERLAP`` is of each row; ``files`` bear their time of change, so that nothing old is remembered."""
    runs = [{n: {run for text in row for run in _runs(text, n)} for n in (SHORT, LONG)} for row in rows]
    wanted = {n: set().union(*(row[n] for row in runs)) for n in (SHORT, LONG)}
    seen: dict[int, set[int]] = {SHORT: set(), LONG: set()}
    for path, _ in files:
        try:
            for text in _read(path):
                _look(text, wanted, seen)
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidInput(f"The training text {path} cannot be read: {error}.") from error
    return tuple(
        "too short"
        if not row[SHORT]
        else f"{LONG} words"
        if row[LONG] & seen[LONG]
        else f"{SHORT} words"
        if row[SHORT] & seen[SHORT]
        else "none"
        for row in runs
    )


def _look(pieces: Iterable[str], wanted: dict[int, set[int]], seen: dict[int, set[int]]) -> None:
    """Note which wanted runs a text holds that comes in pieces; a run of 13 words ends in one of 8."""
    last: deque[str] = deque(maxlen=LONG)
    for word in _words(pieces):
        last.append(word)
        if len(last) < SHORT:
            continue
        whole = tuple(last)
        short = hash(whole[-SHORT:])
        if short in wanted[SHORT]:
            seen[SHORT].add(short)
            if len(whole) == LONG and (long := hash(whole)) in wanted[LONG]:
                seen[LONG].add(long)


def _words(pieces: Iterable[str]) -> Iterator[str]:
    """The words of a text, lower case; one that is cut in two by a piece's end is put together."""
    rest = ""
    for piece in pieces:
        text = (rest + piece).lower()
        cut = len(text)
        while cut and (text[cut - 1].isalnum() or text[cut - 1] == "_"):
            cut -= 1
        cut = cut if len(text) - cut < 1000 else len(text)  # no word is that long
        yield from _WORD.findall(text[:cut])
        rest = text[cut:]
    yield from _WORD.findall(rest.lower())


def _runs(text: str, n: int) -> Iterator[int]:
    words = _WORD.findall(text.lower())
    return (hash(tuple(words[place : place + n])) for place in range(len(words) - n + 1))


def _texts(value: Any) -> Iterator[str]:
    """Every text in a row; of a conversation the turns of people and of the model, not its settings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        if "role" in value:
            value = {} if value["role"] == "system" else {"content": value.get("content")}
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, np.ndarray | list | tuple):
        for one in value:
            yield from _texts(one)


def _read(path: Path) -> Iterator[Iterable[str]]:
    """The texts of a file, each in pieces: of lines of JSON their texts, of anything else all of it."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as file:
        if path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
            for line in lines_of(file, path):
                yield from ([text] for text in _of_line(line))
        else:
            yield iter(lambda: file.read(_PIECE), "")


def _of_line(line: str) -> list[str]:
    """The texts of a line of JSON; all of it where it is none, or nested deeper than Python reads."""
    try:
        return list(_texts(json.loads(line)))
    except (ValueError, RecursionError):
        return [line]
