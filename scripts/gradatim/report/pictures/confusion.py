"""The confusion matrix as a heat map: what was right in one colour, what was wrong in another."""

from __future__ import annotations

from gradatim.report import numbers
from gradatim.report.model import Confusion
from gradatim.report.svg import content, element, label, picture, rectangle
from gradatim.report.text import fitting, one_line, width_of

SHOWN = 20
_WIDTH = 560


def draw_confusion(confusion: Confusion) -> str:
    """Rows are true labels, columns predicted ones; of more than ``SHOWN`` labels the worst."""
    if not confusion.labels:
        return ""
    kept = most_confused(confusion)
    labels = [one_line(confusion.labels[i], 40) for i in kept]
    rows = [[confusion.candidate[i][j] for j in kept] for i in kept]
    totals = [sum(confusion.candidate[i]) for i in kept]
    left = min(max(width_of(text, 12) for text in labels), 110.0) + 34
    cell = min((_WIDTH - left - 8) / len(kept), 46.0)
    upright = max(width_of(text, 12) for text in labels) > cell - 4
    top = 24 + (min(max(width_of(text, 12) for text in labels), 90.0) * 0.8 + 6 if upright else 18)
    parts = [label(left + cell * len(kept) / 2, 12, "predicted", "muted small", "middle")]
    parts.append(_turned(11, top + cell * len(kept) / 2, "true", "muted small", "middle", -90))
    for column, text in enumerate(labels):
        middle = left + cell * (column + 0.5)
        shown = fitting(text, 90 if upright else cell)
        parts.append(
            _turned(middle + 4, top - 6, shown, "small", "start", -50)
            if upright
            else label(middle, top - 8, shown, "small", "middle")
        )
    for row, counts in enumerate(rows):
        parts.append(
            label(left - 8, top + cell * (row + 0.5) + 4, fitting(labels[row], left - 30), "small", "end")
        )
        parts += [
            _cell(
                left + cell * column,
                top + cell * row,
                cell,
                number,
                totals[row],
                row == column,
                f"{labels[row]} taken for {labels[column]}: {number} of {totals[row]}",
            )
            for column, number in enumerate(counts)
        ]
    size = cell * len(kept)
    told = "; ".join(confusions(confusion)[:5]) or "Nothing was confused."
    return picture("confusion", left + size + 8, top + size + 6, "Confusion matrix", told, *parts)


def most_confused(confusion: Confusion) -> list[int]:
    """Which labels to show, in their own order."""
    size = len(confusion.labels)
    if size <= SHOWN:
        return list(range(size))
    errors = [0] * size
    for i, row in enumerate(confusion.candidate):
        for j, number in enumerate(row):
            if i != j:
                errors[i] += number
                errors[j] += number
    return sorted(sorted(range(size), key=lambda i: (-errors[i], i))[:SHOWN])


def confusions(confusion: Confusion) -> list[str]:
    """``8 taken for 1: 7 of 44 (baseline 2)``, the most frequent first."""
    labels = [one_line(text, 40) for text in confusion.labels]
    pairs = [
        (n, i, j) for i, row in enumerate(confusion.candidate) for j, n in enumerate(row) if i != j and n
    ]
    found = []
    for number, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        before = f" (baseline {confusion.baseline[i][j]})" if confusion.baseline else ""
        total = numbers.count(sum(confusion.candidate[i]))
        found.append(f"{labels[i]} taken for {labels[j]}: {numbers.count(number)} of {total}{before}")
    return found


def _cell(x: float, y: float, size: float, number: int, total: int, right: bool, hint: str) -> str:
    share = number / total if total else 0.0
    strength = share**0.5 if not right else share
    parts = [rectangle(x + 0.75, y + 0.75, size - 1.5, size - 1.5, "cell band", rx=2)]
    if number:
        parts.append(
            element(
                "rect",
                element("title", content(hint)),
                x=x + 0.75,
                y=y + 0.75,
                width=size - 1.5,
                height=size - 1.5,
                rx=2,
                class_=f"cell {'candidate' if right else 'fail'}",
                fill_opacity=f"{0.08 + 0.92 * strength:.2f}",
            )
        )
        if size >= 19 and width_of(str(number), 11) < size:
            kind = "small onstrong" if strength > 0.55 else "small"
            parts.append(label(x + size / 2, y + size / 2 + 4, numbers.count(number), kind, "middle"))
    return "".join(parts)


def _turned(x: float, y: float, text: str, kind: str, anchor: str, degrees: float) -> str:
    return label(x, y, text, kind, anchor, transform=f"rotate({degrees:g} {x:.1f} {y:.1f})")


def confusion_lead(confusion: Confusion) -> str:
    """How to read the picture, and how many labels it leaves out."""
    labels = len(confusion.labels)
    if labels > SHOWN:
        return f"The {SHOWN} of {numbers.count(labels)} labels with the most errors."
    return "Each row is a true label and what it was taken for; blue was right."
