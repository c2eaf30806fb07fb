"""How much an answer shares with its references: BLEU, chrF, ROUGE."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import needs


def bleu(answer: str, references: Sequence[str]) -> tuple[float, ...]:
    """What BLEU is made of: matches and n-grams of order 1 to 4, and words of answer and reference; tokens are `13a`'s."""
    with needs("sacrebleu", "text", "The scorer `bleu`"):
        from sacrebleu.metrics import BLEU
    found = BLEU(effective_order=False).corpus_score([answer], [[reference] for reference in references])
    return (*map(float, found.counts), *map(float, found.totals), float(found.sys_len), float(found.ref_len))


def bleu_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU from 0 to 1 of summed counts, [draws, 10] -> [draws].

    Papineni et al. (2002), smoothed where an order has no match as NIST and sacrebleu do: 1/2, 1/4, ... of a match.
    """
    counts, totals = sums[:, :4], np.maximum(sums[:, 4:8], 1e-12)
    none = (counts <= 0) & (sums[:, 4:8] > 0)
    smoothed = np.where(none, 0.5 ** np.cumsum(none, axis=1), counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(smoothed / totals)
    value = np.exp(logs.mean(axis=1))
    said, wanted = sums[:, 8], sums[:, 9]
    short = np.where(said < wanted, np.exp(1 - wanted / np.maximum(said, 1e-12)), 1.0)
    some = (sums[:, 4:8].min(axis=1) > 0) & (sums[:, :4].max(axis=1) > 0)
    return np.asarray(np.where(some, value * short, 0.0))


def chrf(answer: str, references: Sequence[str]) -> float:
    """chrF from 0 to 1: the F of character n-grams to order 6, recall twice as heavy (Popovic 2015)."""
    with needs("sacrebleu", "text", "The scorer `chrf`"):
        from sacrebleu.metrics import CHRF
    return float(CHRF().sentence_score(answer, list(references)).score) / 100


def rouge1(answer: str, references: Sequence[str]) -> float:
    """F of shared words; the best of the references (Lin 2004)."""
    return _rouge("rouge1", answer, references)


def rouge2(answer: str, references: Sequence[str]) -> float:
    """F of shared pairs of words."""
    return _rouge("rouge2", answer, references)


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """F of the longest common subsequence of words."""
    return _rouge("rougeL", answer, references)


def _rouge(kind: str, answer: str, references: Sequence[str]) -> float:
    scorer = _rouge_scorer(kind)
    return max(float(scorer.score(reference, answer)[kind].fmeasure) for reference in references)


@functools.cache
def _rouge_scorer(kind: str) -> Any:
    with needs("rouge_score", "text", f"The scorer `{kind}`"):
        from rouge_score.rouge_scorer import RougeScorer
    return RougeScorer([kind], use_stemmer=False)
