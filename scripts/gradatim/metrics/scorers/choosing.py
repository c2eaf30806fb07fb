"""What a model thinks likely: the choices of a question, or a text."""

from __future__ import annotations

import math
from collections.abc import Sequence


def likeliest(choices: Sequence[float], lengths: Sequence[int], right: int) -> bool:
    """Whether the right choice has the highest log-likelihood (`acc` of lm-evaluation-harness); a tie is the first's."""
    return max(range(len(choices)), key=choices.__getitem__) == right


def likeliest_by_letter(choices: Sequence[float], lengths: Sequence[int], right: int) -> bool:
    """The same by letter of the choice (`acc_norm`), so that long ones are not punished for their length."""
    return likeliest(
        [one / max(1, length) for one, length in zip(choices, lengths, strict=True)], lengths, right
    )


def bits(nats: float, size: int) -> tuple[float, float]:
    """Bits that the reference costs, and its bytes in UTF-8."""
    return nats / math.log(2), float(size)
