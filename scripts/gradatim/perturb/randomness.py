"""Random numbers that belong to an item, not to the batch it happens to be in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Dice:
    """One stream per item, for one corruption, severity and seed.

    Philox [1]_ is counter-based: the stream's key and the upper words of its counter are set from (seed,
    corruption) and (item, severity, part), so that a stream is found without walking to it, whatever the
    batch size, the order or the number of workers.

    .. [1] Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3", SC '11.
    """

    corruption: str
    severity: int
    seed: int
    items: NDArray[np.int64]

    def draw(
        self, make: Callable[[np.random.Generator], NDArray[Any]], shape: Sequence[int], part: int = 0
    ) -> NDArray[np.float64]:
        """One array per item: float64 [b, *shape]. Draws of the same kind need a ``part`` of their own."""
        drawn = np.empty((len(self.items), *shape), np.float64)
        for place, generator in enumerate(self.generators(part)):
            drawn[place] = make(generator)
        return drawn

    def normal(self, shape: Sequence[int], part: int = 0) -> NDArray[np.float64]:
        """Standard normal numbers, float64 [b, *shape]."""
        return self.draw(lambda generator: generator.standard_normal(shape), shape, part)

    def uniform(self, shape: Sequence[int], part: int = 0) -> NDArray[np.float64]:
        """Numbers in 0..1, float64 [b, *shape]; a longer draw begins like a shorter one."""
        return self.draw(lambda generator: generator.random(shape), shape, part)

    def generators(self, part: int = 0) -> Iterator[np.random.Generator]:
        """The generator of each item in turn; only valid until the next is taken."""
        key = hashlib.blake2b(self.corruption.encode(), digest_size=8).digest()
        words = np.array([self.seed % (1 << 64), int.from_bytes(key, "little")], np.uint64)
        bits = np.random.Philox(key=words)
        generator = np.random.Generator(bits)
        fresh = bits.state  # resetting the state is several times faster than building a generator per item
        high = self.severity * 1000 + part
        for item in self.items:
            fresh["state"]["counter"] = np.array([0, 0, item, high], np.uint64)
            bits.state = fresh
            yield generator
