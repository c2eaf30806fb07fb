"""One part of the rows that several jobs share out among themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gradatim.errors import UsageError

MOST = 32
"""Jobs that may share one step: more would spend longer on beginning than on rows."""

_SPELLED = re.compile(r"([1-9][0-9]{0,3})(?:/|-of-)([1-9][0-9]{0,3})")


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``of``, counted from 1.

    Raises:
        UsageError: there is no such part.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of <= MOST:
            raise UsageError(
                f"There is no shard {self}: parts are counted from 1, and there are at most {MOST} of them."
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def folder(self) -> str:
        """Its name where names hold no slash: ``2-of-4``."""
        return f"{self.number}-of-{self.of}"

    @classmethod
    def parse(cls, written: str) -> Shard:
        """Read ``2/4`` or ``2-of-4``.

        Raises:
            UsageError: it is neither.
        """
        found = _SPELLED.fullmatch(written)
        if found is None:
            raise UsageError(f"A shard is written as in `2/4`, the second of four, not as {written!r}.")
        return cls(int(found[1]), int(found[2]))

    def rows(self, total: int, batch: int) -> range:
        """Its rows of so many: whole batches of the walk over all of them, so that no batch is cut elsewhere.

        Args:
            total: rows in all.
            batch: rows per call of the model.

        Returns:
            consecutive places from 0, empty where there are fewer batches than parts.
        """
        batches = -(-total // batch)
        start, stop = (batches * before // self.of * batch for before in (self.number - 1, self.number))
        return range(min(start, total), min(stop, total))


def shards(of: int) -> tuple[Shard, ...]:
    """All parts, in order."""
    return tuple(Shard(number, of) for number in range(1, of + 1))
